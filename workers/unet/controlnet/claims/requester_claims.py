"""Claims, for the worker that sent a step's request, the parts that it holds and nobody else computes."""

import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from workers.devices.base import Event
from workers.transport.protocol import ControlNetCall, StepRequest
from workers.unet.controlnet.session import ControlNetSession

#: Pauses between looks for who has claimed a part while the device computes: a free helper claims within a
#: millisecond or two of the request, which is longer than submitting the encoder takes.
LOOK_PAUSES_S = (0.0005, 0.001)


class RequesterClaims:
    """The parts of one step that its requester computes itself."""

    def __init__(self, session: ControlNetSession, parts: Sequence[ControlNetCall]) -> None:
        self._session = session
        self._steps = session.context.worker.steps
        self._tried: set[int] = set()
        self.others_know = False  # of the request
        #: Positions that no other worker shall compute: they are claimed when the step is sent.
        self.positions = set(session.local_positions(parts))

    def held(self, parts: Sequence[ControlNetCall]) -> list[ControlNetCall]:
        """Those of ``parts`` whose ControlNet is loaded here, and that were not tried to claim since."""
        tried = self._tried | self.positions
        return [part for part in parts if part.position not in tried and self._session.holds(part)]

    def claim_next(
        self, request: StepRequest, parts: Sequence[ControlNetCall], device_end: Event
    ) -> list[ControlNetCall]:
        """Claim one of ``parts`` that is held here and that nobody has claimed; empty if there is none.

        The last one: another worker takes the first first. The others have the time of what was submitted
        to the device until now, see `_wait_for_others`. All are claimed at once where nobody else can claim
        any.
        """
        held = self.held(parts)
        if not held:
            return []
        claimed = self._claim(request, held[::-1], device_end)
        if not claimed:
            self._tried |= {part.position for part in held}
        self.take_over(claimed)
        return claimed

    def try_again(self, parts: Sequence[ControlNetCall]) -> None:
        """Nobody has claimed them any more: they may be claimed, whether that was tried or not."""
        self._tried -= {part.position for part in parts}

    def take_over(self, parts: Sequence[ControlNetCall]) -> None:
        """They are computed here, whoever has claimed them."""
        self.positions |= {part.position for part in parts}

    def _claim(
        self, request: StepRequest, held: Sequence[ControlNetCall], device_end: Event
    ) -> list[ControlNetCall]:
        if not self.others_know:
            return list(held)
        try:
            if not device_end.is_done:
                unclaimed = self._wait_for_others(request, held, device_end)
                self._tried |= {part.position for part in held if part not in unclaimed}
                if not unclaimed:
                    return []
                held = unclaimed
            return self._steps.claim_unclaimed(request, held, most=1)
        except RedisError:
            return list(held)  # without that server no residuals come

    def _wait_for_others(
        self, request: StepRequest, held: Sequence[ControlNetCall], device_end: Event
    ) -> Sequence[ControlNetCall]:
        """Those of ``held`` that nobody has claimed when the device comes to ``device_end``.

        A CPU has come to it already. An asynchronous device has not begun what was submitted, so a claim now
        would take from the others what they could compute beside it. To wait for the event costs: the device
        then has nothing to do until the claim is made and the ControlNet is submitted. So it is waited for
        only if a part is still unclaimed when a free helper would have claimed it; else the loop goes on,
        and submits the decoder as residuals come.
        """
        unclaimed = self._steps.find_unclaimed(request, held)
        for pause_s in LOOK_PAUSES_S:
            if not unclaimed or device_end.is_done:
                return unclaimed
            time.sleep(pause_s)
            unclaimed = self._steps.find_unclaimed(request, unclaimed)
        if unclaimed:
            device_end.wait()
        return unclaimed
