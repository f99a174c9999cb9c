"""What has come of one step: its residuals, who has computed them, and how long they travelled."""

import time

from torch import Tensor

from workers.devices.base import DeviceCopy
from workers.transport.protocol import StepRequest, StepResponse
from workers.unet.controlnet.received_residuals import ReceivedResiduals
from workers.unet.controlnet.session import ControlNetSession
from workers.unet.controlnet.travel_times import TravelTimes


class StepArrivals:
    """The responses to one step, of other workers and of this one."""

    def __init__(self, session: ControlNetSession, request: StepRequest) -> None:
        self._session = session
        self._parts = {part.position: part for part in request.parts}
        self._received = ReceivedResiduals(list(self._parts), session.context.worker.device)
        self._responses: dict[tuple[int, ...], list[StepResponse]] = {}
        self._travel = TravelTimes()

    def is_expected(self, response: StepResponse) -> bool:
        """Whether it is of this step's ControlNets."""
        return bool(response.positions) and self._parts.keys() >= set(response.positions)

    def take(self, response: StepResponse, residual: DeviceCopy) -> None:
        """A residual has come from another worker.

        Raises `ControlNetChanged` or `ReceiptMismatch` if its weights are not the steps' or the receipt's.
        """
        self._note(response)
        self._received.add(response.index, tuple(response.positions), residual)

    def take_computed(self, response: StepResponse, residual: Tensor) -> None:
        """One was computed here; raises as `take` does."""
        self._note(response)
        self._received.add_computed(response.index, response.positions[0], residual)

    @property
    def size_bytes(self) -> int:
        """Of the residuals that have come and that the base model has not been given, on the device."""
        return self._received.size_bytes

    def missing(self, index: int) -> list[int]:
        """The positions of the ControlNets whose residual ``index`` has not come."""
        return self._received.missing(index)

    def total(self, index: int) -> Tensor | None:
        """The sum of the residuals ``index``, which is kept no longer; ``None`` while one is missing."""
        return self._received.take(index)

    def waited(self, index: int, since_s: float) -> None:
        """All residuals ``index`` are here, which were asked for at ``since_s`` (seconds since the epoch)."""
        self._travel.waited(index, since_s)

    def report(self) -> None:
        """Add to the timeline when each ControlNet computed elsewhere, and note how long it travelled."""
        timeline = self._session.context.timeline
        for positions, responses in self._responses.items():
            start_s = min(response.start_s for response in responses)
            end_s, worker = max(response.end_s for response in responses), responses[-1].worker
            if worker == timeline.worker:
                continue  # `LocalComputation` has measured it
            name = "controlnet " + " + ".join(self._parts[position].controlnet for position in positions)
            timeline.add(name, start_s, end_s, worker)
            for position in positions:
                travel_s = self._travel.travel_s(positions)
                self._session.record_travel(self._parts[position], end_s - start_s, travel_s)

    def _note(self, response: StepResponse) -> None:
        self._session.record(response)  # which may refuse it
        self._responses.setdefault(tuple(response.positions), []).append(response)
        self._travel.arrived(response, time.time())
