"""The memory that engines hold beside weights: counted as the device's, and given up when it is full."""

from typing import Protocol, TypeVar

from workers.engines.selection import Engines
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache


class HasEngines(Protocol):
    """A base model or a ControlNet."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all its weights."""

    engines: Engines


M = TypeVar("M", bound=HasEngines)


def with_engines(models: ModelCache[M], memory: DeviceMemory) -> ModelCache[M]:
    """The same models, whose engines ``memory`` knows of."""

    def used_bytes() -> int:
        return sum(model.engines.own.nbytes for model in models.loaded().values())

    def release() -> None:
        for model in models.loaded().values():
            model.engines.own.release()

    memory.count(used_bytes, release)
    return models


def describe_engines(models: ModelCache[M]) -> dict[str, str]:
    """What runs each loaded model, by name."""
    return {name: model.engines.describe() for name, model in models.loaded().items()}
