"""Which workers have loaded which base models, and how long jobs wait; see `lua/loaded_models.lua`."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from shared import keys
from shared.lua_script import read_lua
from shared.messaging.celery_app import unet_queue

if TYPE_CHECKING:
    from redis import Redis


class ModelQueue(NamedTuple):
    """The jobs of one model that wait for any of its workers."""

    waited_s: float | None  # the next one, since it was accepted or, beside other tenants' jobs, released
    is_loaded_elsewhere: bool  # by another worker than the one that asks


class LoadedModels:
    """Registers what workers have loaded. Every method is one round trip."""

    def __init__(self, redis: "Redis") -> None:
        self._script = redis.register_script(
            read_lua("shared", "call") + read_lua("shared.registry", "loaded_models")
        )

    def register(self, worker: str, serves: Sequence[str], loaded: Collection[str], ttl_s: float) -> None:
        """Say for ``ttl_s`` seconds which of the models that a worker serves it has ``loaded``."""
        flags = [int(model in loaded) for model in serves]
        self._script(
            keys=[keys.model_holders(model) for model in serves], args=["register", worker, ttl_s, *flags]
        )

    def read_queues(self, worker: str, models: Sequence[str]) -> dict[str, ModelQueue]:
        """The common queues of ``models``, as ``worker`` sees them."""
        pairs = [key for model in models for key in (unet_queue(model), keys.model_holders(model))]
        found: Any = self._script(keys=pairs, args=["read_queues", worker, keys.job("")])
        return {
            model: ModelQueue(float(waited) if waited else None, bool(elsewhere))
            for model, waited, elsewhere in zip(models, found[::2], found[1::2], strict=True)
        }

    def is_loaded(self, model: str) -> bool:
        """Whether any living worker has loaded it."""
        return self.read_queues("", [model])[model].is_loaded_elsewhere
