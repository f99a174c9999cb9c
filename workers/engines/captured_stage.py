"""One stage as a graph: the buffers that it reads, what fills them, and the outputs that a replay writes."""

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workers.devices.base import Device
from workers.devices.graphs import GraphPool
from workers.engines.base import Stage, Tensors

#: Types of the same width, to compare bits: a NaN equals nothing.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class WrongBits(Exception):
    """A replay computed something else than the stage itself."""


class CapturedStage:
    """A stage at one shape. Inputs are copied into buffers, unless they stay where they are by themselves."""

    def __init__(
        self,
        device: Device,
        inputs: Tensors,
        constants: Tensors,
        *,
        number: int,
        stays: Callable[[Tensor], bool],
    ) -> None:
        """``number`` goes up with every capture of a pool.

        ``stays`` tells the tensors that another graph's replay writes: they are read where they are.
        """
        self.number = number
        self._device = device
        self._inputs = [one if one is None or stays(one) else _buffer(device, one) for one in inputs]
        self._constants = [one if one is None else _buffer(device, one) for one in constants]
        #: Which tensor each constant was copied from: not its number, as another may get that.
        self._sources: list[weakref.ref[Tensor] | None] = [None] * len(self._constants)
        self.outputs: tuple[Tensor, ...] = ()

    @property
    def buffer_bytes(self) -> int:
        """Memory of what it reads; outputs of another stage are counted there, too."""
        return sum(one.nbytes for one in (*self._inputs, *self._constants) if one is not None)

    @property
    def output_bytes(self) -> int:
        """Memory of its outputs, which lie in the pool."""
        return sum(output.nbytes for output in self.outputs)

    def capture(self, pool: GraphPool, stage: Stage, inputs: Tensors, constants: Tensors) -> None:
        """Record the stage, and run it once with these inputs.

        Raises `WrongBits` unless that gives the bits of the stage itself, and whatever `GraphPool.capture`
        raises.
        """
        self._fill(inputs, constants)
        expected = stage(self._inputs, self._constants)
        self._graph, self.outputs = pool.capture(lambda: stage(self._inputs, self._constants))
        self._graph.replay()
        if not all(_same_bits(a, b) for a, b in zip(self.outputs, expected, strict=True)):
            raise WrongBits

    def run(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        """What the stage gives for these inputs, in the memory of all runs' outputs."""
        self._fill(inputs, constants)
        self._graph.replay()
        return self.outputs

    def _fill(self, inputs: Tensors, constants: Tensors) -> None:
        targets: list[Tensor] = []
        sources: list[Tensor] = []
        copied: dict[int, weakref.ref[Tensor]] = {}
        for buffer, given in zip(self._inputs, inputs, strict=True):
            if buffer is not None and given is not None and buffer is not given:
                targets.append(buffer)
                sources.append(given)
        for i, (buffer, given) in enumerate(zip(self._constants, constants, strict=True)):
            if buffer is None or given is None:
                continue
            known = self._sources[i]
            if known is None or known() is not given:
                copied[i] = weakref.ref(given)
                targets.append(buffer)
                sources.append(given)
        if targets:
            torch._foreach_copy_(targets, [self._device.from_host(source) for source in sources])
        for i, source_of in copied.items():
            self._sources[i] = source_of


def layout(tensors: Tensors) -> tuple[object, ...]:
    """Equal for tensors for which a stage is captured once."""
    return tuple(None if one is None else (one.shape, one.dtype, one.stride()) for one in tensors)


def _buffer(device: Device, like: Tensor) -> Tensor:
    """Memory for such a tensor; dense, in the order of the dimensions that it has."""
    return torch.empty_like(like, device=device.torch_device)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    bits: Sequence[Tensor] = [one.contiguous().view(_BITS[one.element_size()]) for one in (a, b)]
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(*bits)
