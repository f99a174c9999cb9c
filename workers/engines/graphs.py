"""The engine ``graphs``: the kernels of eager stages, recorded as CUDA graphs and submitted as one.

So the device never waits for Python. The bits are those of eager stages: each graph is compared with its
stage when it is captured, and where they differ the engine gives up graphs for this model.

A shape is captured when it is seen for the second time: the first run also does what a library does once.
What a graph reads stays where it is: weights are patched in place, every input is copied into a buffer, and
the outputs of a stage are the buffers of the stages that take them. The prompt's keys and values are
constants (`workers.engines.base.Stage`), copied when they are others than at the last run: of another job,
another CFG branch, or with other LoRAs.

Graphs of one pool share the memory of what lives only while one of them runs. An output is in memory that no
later capture uses; an earlier one may have used it. So within a forward graphs run in the order in which they
were captured; one that is older than a graph before it is captured anew.
"""

import logging
import threading
import time
import weakref
from collections import OrderedDict

import torch
from torch import Tensor

from workers.devices.base import Device
from workers.devices.graphs import CaptureBusy
from workers.engines.base import Engine, ForwardPass, Stage, Tensors
from workers.engines.captured_stage import CapturedStage, WrongBits, layout
from workers.engines.eager import EagerForward

log = logging.getLogger(__name__)

#: Shapes that stay captured. SDXL's outputs of all stages, 1024², both CFG branches: about 200 MB a shape.
MAX_SHAPES = 8
#: After a capture for which there was no memory, nothing is captured for so long.
PAUSE_S = 300.0
#: Layouts of stages that are remembered although they were seen only once.
MAX_SEEN = 256

_Outputs = tuple[Tensor, ...]
_Key = tuple[Stage, tuple[object, ...], tuple[object, ...]]


class _Shape:
    """What is captured for one shape of a model's input."""

    def __init__(self) -> None:
        self.stages: dict[_Key, CapturedStage] = {}

    def has_output(self, tensor: Tensor) -> bool:
        """Whether one of its graphs writes this very tensor."""
        return any(output is tensor for one in self.stages.values() for output in one.outputs)


class GraphEngine(Engine):
    """See `Engine`; for the stages of one model. One forward at a time runs as graphs, others eagerly."""

    has_eager_bits = True
    joins_stages = True

    def __init__(
        self, device: Device, model: str, max_shapes: int = MAX_SHAPES, pause_s: float = PAUSE_S
    ) -> None:
        """``model``: its name, for the log; ``pause_s``: after a capture for which there was no memory."""
        self._device, self._model, self._max_shapes = device, model, max_shapes
        self._pause_s = pause_s
        self._pool = device.graph_pool()
        self._reason = None if self._pool is not None else "the device records no graphs"
        self._seen: OrderedDict[_Key, None] = OrderedDict()  # the latest last
        self._shapes: OrderedDict[_Key, _Shape] = OrderedDict()  # by the first stage; the latest last
        self._captures = 0
        self._paused_until = 0.0
        self._lock = threading.RLock()  # others may ask for memory
        self._must_release = False
        self._current: weakref.ref[GraphForward] | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """See `Engine`; the one that is in effect."""
        return "graphs" if self.fallback_reason is None else "eager"

    @property
    def fallback_reason(self) -> str | None:
        """See `Engine`."""
        paused = "too little memory for graphs; tried again later" if self._is_paused() else None
        return self._reason or paused

    @property
    def prepared_stages(self) -> int:
        """See `Engine`."""
        return self._captures

    @property
    def nbytes(self) -> int:
        """See `Engine`; with what the pool keeps for the time while a graph runs."""
        captured = [one for shape in list(self._shapes.values()) for one in list(shape.stages.values())]
        reserved = 0 if self._pool is None else self._pool.reserved_bytes
        in_pool = max(reserved, sum(one.output_bytes for one in captured))
        return in_pool + sum(one.buffer_bytes for one in captured)

    def begin(self) -> ForwardPass:
        """See `Engine`."""
        with self._lock:
            if self._reason is not None or self._is_under_way:
                return EagerForward()
            if self._must_release:
                self._release()
            forward = GraphForward(self)
            self._current = weakref.ref(forward)
            return forward

    def release(self) -> None:
        """See `Engine`; after the forward under way. What is used again is captured again, at once."""
        with self._lock:
            self._must_release = True
            if not self._is_under_way:
                self._release()

    def run(
        self, forward: "GraphForward", first: _Key, key: _Key, inputs: Tensors, constants: Tensors
    ) -> _Outputs:
        """Run the stage of ``key`` in a forward that began with the stage ``first``; for `GraphForward`."""
        with self._lock, torch.inference_mode():
            shape = self._shapes.get(first)
            captured = None if shape is None else shape.stages.get(key)
            if captured is not None and captured.number > forward.last:
                self._shapes.move_to_end(first)
                forward.last = captured.number
                return captured.run(inputs, constants)
            was_seen = self._was_seen(key)
            is_captured_now = was_seen and not (forward.has_eager_stages or self._is_paused())
            if is_captured_now and self._reason is None:
                captured = self._try_capture(first, key, inputs, constants)
                if captured is not None:
                    forward.last = captured.number
                    return captured.outputs
            forward.has_eager_stages = True
            return key[0](inputs, constants)

    @property
    def _is_under_way(self) -> bool:
        current = None if self._current is None else self._current()
        return current is not None and not current.has_ended

    def _release(self) -> None:
        self._must_release = False
        if self._shapes or (self._pool is not None and self._pool.reserved_bytes):
            self._device.synchronize()  # a graph may be running
            self._shapes.clear()
            if self._pool is not None:
                self._pool.renew()

    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until

    def _was_seen(self, key: _Key) -> bool:
        was_seen = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return was_seen

    def _try_capture(
        self, first: _Key, key: _Key, inputs: Tensors, constants: Tensors
    ) -> CapturedStage | None:
        """The stage, which has run once; ``None`` if it cannot be captured."""
        assert self._pool is not None
        shape = self._shapes.get(first) or _Shape()
        self._captures += 1
        captured = CapturedStage(
            self._device, inputs, constants, number=self._captures, stays=shape.has_output
        )
        try:
            captured.capture(self._pool, key[0], inputs, constants)
        except WrongBits:
            self._give_up(f"a graph of {type(key[0]).__name__} has other bits than eager kernels")
            return None
        except CaptureBusy:
            return None
        except torch.OutOfMemoryError:
            log.warning("no memory for CUDA graphs: eager stages for a while", extra={"model": self._model})
            self._paused_until = time.monotonic() + self._pause_s
            self.release()
            return None
        except RuntimeError as error:  # if the device is lost, the next kernel says so
            self._give_up(f"{type(error).__name__}: {error}".partition("\n")[0])
            return None
        shape.stages[key] = captured
        self._keep(first, shape)
        return captured

    def _keep(self, first: _Key, shape: _Shape) -> None:
        self._shapes[first] = shape
        self._shapes.move_to_end(first)
        while len(self._shapes) > self._max_shapes:
            self._device.synchronize()  # the oldest may be running
            self._shapes.popitem(last=False)

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        log.warning("CUDA graphs given up: eager stages", extra={"model": self._model, "reason": reason})
        self._release()


class GraphForward(ForwardPass):
    """See `ForwardPass`: outputs lie in buffers, which the next forward writes again."""

    def __init__(self, engine: GraphEngine) -> None:
        self.first: _Key | None = None  # its first stage, which tells the shape
        self.last = 0  # number of the latest graph that it ran
        self.has_eager_stages = False
        self.has_ended = False
        self._engine = engine

    def __call__(self, stage: Stage, inputs: Tensors, constants: Tensors = ()) -> _Outputs:
        """See `ForwardPass`."""
        assert not self.has_ended, "the next forward may have begun"
        key = stage, layout(inputs), layout(constants)
        if self.first is None:
            self.first = key
        return self._engine.run(self, self.first, key, inputs, constants)

    def keep(self, output: Tensor) -> Tensor:
        """See `ForwardPass`."""
        return output.clone()

    def end(self) -> None:
        """See `ForwardPass`."""
        self.has_ended = True
