"""Which engine runs a model's stages, as its catalog entry and the job say."""

from dataclasses import dataclass
from pathlib import Path

from shared.catalog.entries import EngineName
from workers.devices.base import Device
from workers.engines.base import Engine
from workers.engines.compiled import COMPILE_FOLDER, CompileEngine
from workers.engines.eager import EAGER
from workers.engines.graphs import GraphEngine


@dataclass(frozen=True)
class Engines:
    """The engine of one model or ControlNet, and the one for jobs that it would compute with other bits."""

    own: Engine = EAGER

    def select(self, *, eager_bits: bool) -> Engine:
        """The engine of a forward; ``eager_bits``: it must give those of eager kernels."""
        return self.own if self.own.has_eager_bits or not eager_bits else EAGER

    def describe(self) -> str:
        """The engine that is in effect, for people; with the reason if it is not that of the catalog."""
        reason = self.own.fallback_reason
        return self.own.name if reason is None else f"{self.own.name} ({reason})"


def make_engines(engine: EngineName, model: str, device: Device, home: Path) -> Engines:
    """What the catalog names for ``model``; it belongs to one loaded model.

    ``home`` is ``SWIFT_HOME``.
    """
    if engine == "graphs":
        return Engines(GraphEngine(device, model))
    if engine == "compile":
        return Engines(CompileEngine(model, home / COMPILE_FOLDER))
    return Engines()
