"""Computes ControlNets of one step on the worker that asks for it: at once, or residual by residual."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from shared import metrics
from workers.devices.base import Event
from workers.devices.timer import SpanStart
from workers.transport.protocol import ControlNetCall, StepRequest, StepResponse
from workers.unet.controlnet.session import ControlNetSession
from workers.unet.controlnet.step_arrivals import StepArrivals
from workers.unet.denoising.device_times import DeviceTimes


class LocalComputation:
    """The parts of one step that are computed here."""

    def __init__(self, session: ControlNetSession, x: Tensor, arrivals: StepArrivals) -> None:
        """``x`` is the ControlNets' input on the device; what is computed goes to ``arrivals``."""
        self._session, self._x, self._arrivals = session, x, arrivals
        self._device, self._times = session.context.worker.device, session.context.device_times
        self._on_demand: list[OnDemand] = []  # the step's ControlNets, if all of them are computed here
        self.device_end: Event | None = None  # of what is submitted, once the encoder has been

    def begin(self) -> None:
        """The encoder has been submitted to the device."""
        self.device_end = self._times.mark().event

    def compute(self, request: StepRequest, parts: Sequence[ControlNetCall], result: str) -> None:
        """Compute parts that are claimed; ``result`` is why, as the metric names it.

        If they are all of the step's, and each can compute on demand, they wait for `compute_until`.
        """
        if not parts:
            return
        session, are_all = self._session, len(parts) == len(request.parts)
        last = session.last_on_demand(parts) if are_all else {}
        for part in parts:
            name = f"controlnet {part.controlnet}"
            computed = session.compute_locally(request, part, self._x)
            metrics.CONTROLNET_STEPS.labels(part.controlnet, result).inc()
            if part.position in last:
                self._on_demand.append(OnDemand(computed, part.position, last[part.position], name))
                continue
            with self._times.span(name):
                for response, residual in computed:
                    self._arrivals.take_computed(response, residual)
        self.device_end = self._device.record()

    def compute_until(self, index: int) -> None:
        """Have each ControlNet compute the residual that is needed, and those before it."""
        for running in self._on_demand:
            while running.position in self._arrivals.missing(index):
                self._arrivals.take_computed(*running.compute_next(self._times))


class OnDemand:
    """One ControlNet that computes each residual when it is needed: until then it takes no memory.

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
