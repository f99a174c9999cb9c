"""A ControlNet that computes each residual of a step here when the base model needs it."""

from collections.abc import Iterator

from torch import Tensor

from workers.devices.timer import SpanStart
from workers.transport.protocol import StepResponse
from workers.unet.denoising.device_times import DeviceTimes


class OnDemand:
    """One step of one ControlNet: what is not needed yet takes no memory.

    In the timeline it begins with its first residual and ends with its last: meanwhile the base model
    computes, too.
    """

    def __init__(
        self, computed: Iterator[tuple[StepResponse, Tensor]], position: int, last: int, name: str
    ) -> None:
        """``last`` is the number of its last residual, ``name`` that of its span in the timeline."""
        self.position = position
        self._computed, self._last, self._name = computed, last, name
        self._start: SpanStart | None = None

    def compute_next(self, times: DeviceTimes) -> tuple[StepResponse, Tensor]:
        """The next residual; after the last one it may be evicted."""
        self._start = self._start or times.mark()
        computed = next(self._computed, None)
        assert computed is not None, "it has computed its last one"
        response, _ = computed
        if response.index == self._last:
            times.add(self._name, self._start)
            next(self._computed, None)
        return computed
