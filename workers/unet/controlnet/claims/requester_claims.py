"""Claims, for the worker that sent a step's request, the parts that it holds and nobody else computes."""

from collections.abc import Sequence

from redis.exceptions import RedisError

from workers.devices.base import Event
from workers.transport.protocol import ControlNetCall, StepRequest
from workers.unet.controlnet.session import ControlNetSession


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

    def claim(
        self, request: StepRequest, held: Sequence[ControlNetCall], encoder_end: Event
    ) -> list[ControlNetCall]:
        """Claim those of ``held`` that nobody has claimed.

        Other workers have the time of the encoder to take them: only if one is unclaimed, this waits for
        ``encoder_end``, which the device has come to already where it is a CPU.
        """
        if not held:
            return []
        self._tried |= {part.position for part in held}
        claimed = self._claim(request, held, encoder_end)
        self.take_over(claimed)
        return claimed

    def take_over(self, parts: Sequence[ControlNetCall]) -> None:
        """They are computed here, whoever has claimed them."""
        self.positions |= {part.position for part in parts}

    def _claim(
        self, request: StepRequest, held: Sequence[ControlNetCall], encoder_end: Event
    ) -> list[ControlNetCall]:
        if not self.others_know:
            return list(held)
        try:
            if not encoder_end.is_done:
                if not self._steps.find_unclaimed(request, held):
                    return []
                encoder_end.wait()
            return self._steps.claim_unclaimed(request, held)
        except RedisError:
            return list(held)  # without that server no residuals come
