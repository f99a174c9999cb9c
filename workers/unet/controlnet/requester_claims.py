"""Claims, for the worker that sent a step's request, the parts that it holds and nobody else computes."""

from collections.abc import Collection, Sequence

from redis.exceptions import RedisError

from workers.devices.base import Event
from workers.transport.protocol import ControlNetCall, StepRequest
from workers.unet.controlnet.session import ControlNetSession


class RequesterClaims:
    """The parts of one step that its requester computes itself."""

    def __init__(self, session: ControlNetSession, parts: Sequence[ControlNetCall]) -> None:
        self._session = session
        self._steps = session.context.worker.steps
        #: Positions that no other worker shall compute: they are claimed when the step is sent.
        self.positions = set(session.local_positions(parts))

    def claim(
        self, request: StepRequest, parts: Collection[ControlNetCall], encoder_end: Event
    ) -> list[ControlNetCall]:
        """Claim those of ``parts`` that are loaded here and that nobody has claimed.

        Other workers have the time of the encoder to take them: only if one is unclaimed, this waits for
        ``encoder_end``, which the device has come to already where it is a CPU.
        """
        held = [part for part in parts if part.position not in self.positions and self._session.holds(part)]
        claimed = self._claim(request, held, encoder_end) if held else []
        self.positions |= {part.position for part in claimed}
        return claimed

    def _claim(
        self, request: StepRequest, held: list[ControlNetCall], encoder_end: Event
    ) -> list[ControlNetCall]:
        try:
            if not encoder_end.is_done:
                if not self._steps.find_unclaimed(request, held):
                    return []
                encoder_end.wait()
            return self._steps.claim_unclaimed(request, held)
        except RedisError:
            return held  # without that server no residuals come
