"""The ControlNet worker's end of a residual's way: choose the rung, lay the bytes down, send the heads."""

import secrets
import time
from collections.abc import Iterable

from torch import Tensor

from shared import metrics
from shared.connections import make_retry
from shared.errors import ResidualsFull
from shared.settings import Settings
from workers.residuals.blocks import Blocks
from workers.residuals.codecs import encode
from workers.residuals.host import HostMemory
from workers.residuals.links import HOME, Links, Servers
from workers.residuals.messages import Answer, Block, Body, Keys, StepRequest
from workers.residuals.names import body_key, turn_key
from workers.residuals.postman import REPLY_S, Letter, Postman
from workers.residuals.pressure import Pressure
from workers.residuals.stripes import Stripes
from workers.residuals.wire import bytes_of, name_of

#: Smaller residuals follow their head: another round trip would cost more than the copies.
INLINE_BYTES = 32 << 10
#: Heads wait for no more than this to be laid down: a millisecond or two.
TOGETHER_BYTES = 8 << 20
#: That a job is at a step is asked at most this often while its residuals leave one after the other.
BELIEVED_S = 0.01


class Outbox:
    """Hands residuals over; safe to use from several threads."""

    def __init__(self, servers: Servers, host: HostMemory | None, settings: Settings) -> None:
        self._servers = servers
        self.blocks = Blocks(host, settings)
        self._retry = make_retry()
        self._wanted = ("", "", 0.0)  # job and step that were wanted when it was asked for last
        self._stripes = Stripes(servers, settings.residual_ttl_s)
        self._pressure = Pressure(servers, settings.residual_wait_s)
        self._postman = Postman(servers, settings.residual_ttl_s, self.blocks.take_back)

    def put(self, request: StepRequest, answers: Iterable[tuple[Answer, Tensor | None]]) -> int:
        """See `Transport.answer`."""
        total_bytes = waiting_bytes = 0
        letters: list[Letter] = []
        try:
            for answer, tensor in answers:
                letter = self._seal(request, answer, tensor)
                if letter is None:
                    continue
                letters.append(letter)
                waiting_bytes += letter.size_bytes
                total_bytes += letter.size_bytes
                if waiting_bytes >= TOGETHER_BYTES or letter.is_striped:
                    self._postman.post(request, letters)
                    letters, waiting_bytes = [], 0
        finally:
            if letters:
                self._postman.post(request, letters)
        return total_bytes

    def _seal(self, request: StepRequest, answer: Answer, tensor: Tensor | None) -> Letter | None:
        """Lay the bytes of an answer down; ``None`` if the job is past this step."""
        if tensor is None:
            return Letter(answer)
        try:
            return self._lay_down(request, answer, tensor)
        except ResidualsFull as error:
            # Told in its place, so that the reader asks again instead of waiting.
            return Letter(answer.model_copy(update={"error": error.code, "detail": str(error)}))

    def _lay_down(self, request: StepRequest, answer: Answer, tensor: Tensor) -> Letter | None:
        precision = request.residual_precision
        coded = encode(tensor.detach(), precision)
        place: Keys | Block | None = None
        inline: bytes | memoryview = b""
        if coded.nbytes <= INLINE_BYTES:
            rung, inline = "inline", _memory(coded)
        elif (place := self.blocks.write(request, coded)) is not None:
            rung = "shared_memory"
        elif (place := self._stripe(request, answer.index, _memory(coded))) is not None:
            rung = "redis"
        else:
            return None
        metrics.RESIDUAL_RUNGS.labels(rung).inc()
        body = Body(dtype=name_of(tensor.dtype), shape=list(tensor.shape), precision=precision, place=place)
        return Letter(answer.model_copy(update={"body": body}), inline, coded.nbytes)

    def _stripe(self, request: StepRequest, index: int, memory: memoryview) -> Keys | None:
        """Into keys at the residual servers; ``None`` if the job is past this step."""
        key = body_key(request, index, secrets.token_hex(4))

        def stripe() -> list[int] | None:
            with self._servers.links() as links:
                return self._pressure.within_room(
                    links,
                    len(memory),
                    lambda: self._is_wanted(links, request),
                    lambda: self._stripes.put(links, key, memory, index=index),
                )

        servers = self._retry.call_with_retry(stripe, lambda error: None)
        return None if servers is None else Keys(key=key, servers=servers)

    def _is_wanted(self, links: Links, request: StepRequest) -> bool:
        """Whether the job is still at this step."""
        now = time.monotonic()
        job_id, step, asked_at = self._wanted
        if (job_id, step) == (request.job_id, request.any_send) and now - asked_at < BELIEVED_S:
            return True
        home = links[HOME]
        home.send([(b"GET", turn_key(request.job_id).encode())])
        turn = home.read(REPLY_S)
        if turn is None or not turn.startswith(request.any_send.encode()):
            return False
        self._wanted = (request.job_id, request.any_send, now)
        return True


def _memory(tensor: Tensor) -> memoryview:
    return bytes_of(tensor.to("cpu").contiguous())
