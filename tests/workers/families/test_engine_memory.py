"""What graphs keep on the device is counted as models are, and makes room for them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.fake_graphs import GraphDevice
from workers.devices.base import Device
from workers.engines.base import Tensors
from workers.engines.graphs import GraphEngine
from workers.engines.selection import Engines
from workers.families.engine_memory import with_engines
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache

KB = 1 << 10
#: What a forward of `Wide` needs while it runs, and not afterwards.
SCRATCH_BYTES = 64 * KB


class Wide:
    """A stage whose output is a number, from many."""

    def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        (x,) = inputs
        assert x is not None
        return (x.expand(SCRATCH_BYTES // 4).contiguous().sum(),)


@dataclass
class Model:
    """A model of one stage, run by graphs."""

    engines: Engines
    stage: Wide
    weight_bytes: int = KB

    def run(self) -> None:
        forward = self.engines.own.begin()
        forward(self.stage, [torch.ones(1)])
        forward.end()


def make_models(device: Device, capacity_bytes: int) -> ModelCache[Model]:
    memory = DeviceMemory(capacity_bytes)

    def load(name: str) -> Model:
        return Model(Engines(GraphEngine(device, name)), Wide())

    return with_engines(ModelCache(load, memory, lambda name: KB), memory)


def test_what_graphs_need_while_they_run_is_counted() -> None:
    models = make_models(GraphDevice(), 1 << 20)
    with models.use("a") as model:
        model.run()
        assert models.memory.models.used_bytes() == KB
        model.run()  # captured
        assert models.memory.models.used_bytes() > KB + SCRATCH_BYTES
        model.engines.own.release()
    assert models.memory.models.used_bytes() == KB


def test_graphs_of_a_model_leave_room_for_fewer_idle_ones() -> None:
    models = make_models(GraphDevice(), SCRATCH_BYTES + 3 * KB)
    for name in ("a", "b", "c"):
        with models.use(name):
            pass
    # Given a model whose graphs take what others had
    with models.use("c") as model:
        for _ in range(2):
            model.run()
        # When another one is loaded, then those that are idle go
        with models.use("d"):
            assert models.names() == ["c", "d"]
