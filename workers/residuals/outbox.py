"""The ControlNet worker's end of a residual's way: choose the rung, lay the bytes down, send the head."""

import hashlib
import secrets
import threading
from typing import NamedTuple

from torch import Tensor

from shared import metrics
from shared.connections import make_retry
from shared.settings import Settings
from workers.residuals.codecs import encode
from workers.residuals.host import HostMemory
from workers.residuals.links import HOME, Links, Servers
from workers.residuals.messages import Answer, Block, Body, Keys, StepRequest
from workers.residuals.names import answers_key, body_key, turn_key
from workers.residuals.pressure import Pressure
from workers.residuals.segments import Segments
from workers.residuals.steps import lua
from workers.residuals.stripes import Stripes
from workers.residuals.wire import bytes_of, name_of, pack_bytes

#: Smaller residuals follow their head: another round trip would cost more than the copies.
INLINE_BYTES = 32 << 10
#: One reply of the home server.
REPLY_S = 10.0
PUSH_SCRIPT = lua("push")
_PUSH_SHA = hashlib.sha1(PUSH_SCRIPT.encode()).hexdigest().encode()


class _Parcel(NamedTuple):
    """One answer, ready to go."""

    request: StepRequest
    answer: Answer
    inline: bytes | memoryview = b""  # follows the head
    striped: memoryview | None = None  # goes into keys


class Outbox:
    """Hands residuals over; safe to use from several threads."""

    def __init__(
        self, servers: Servers, stripes: Stripes, host: HostMemory | None, settings: Settings
    ) -> None:
        self._servers = servers
        self._stripes = stripes
        self._host = host
        self._retry = make_retry()
        self._limit_bytes, self._lease_s = settings.shared_memory_bytes, settings.residual_ttl_s
        self._lock = threading.Lock()
        self._segments: Segments | None = None  # made with the first residual that goes this way
        self._pressure = Pressure(servers, settings.residual_wait_s)
        self._ttl_s = b"%d" % settings.residual_ttl_s

    def put(self, request: StepRequest, answer: Answer, tensor: Tensor | None) -> int:
        """See `Transport.answer`."""
        if tensor is None:
            self._post(_Parcel(request, answer))
            return 0
        coded = encode(tensor.detach(), request.residual_precision)
        body = Body(
            dtype=name_of(tensor.dtype), shape=list(tensor.shape), precision=request.residual_precision
        )
        block = self._write(request, coded)
        if block is not None:
            parcel = _Parcel(request, _with_body(answer, body, block))
        elif coded.nbytes <= INLINE_BYTES:
            parcel = _Parcel(request, _with_body(answer, body, None), inline=_memory(coded))
        else:
            parcel = _Parcel(request, _with_body(answer, body, None), striped=_memory(coded))
        if self._post(parcel):
            rung = "shared_memory" if block else "redis"
            metrics.RESIDUAL_RUNGS.labels(rung).inc()
            return coded.nbytes
        if block is not None and self._segments is not None:
            self._segments.take_back(block)
        return 0

    def reclaim(self) -> None:
        """Let go of shared memory that no reader has released within the lease."""
        with self._lock:
            if self._segments is not None:
                self._segments.reclaim()

    def shut(self) -> None:
        """Give all shared memory back."""
        with self._lock:
            if self._segments is not None:
                self._segments.close()
                self._segments = None

    def _write(self, request: StepRequest, coded: Tensor) -> Block | None:
        """Into shared memory, if the asking worker sees ours and there is room."""
        if self._host is None or request.shared_memory != self._host.token or coded.nbytes <= INLINE_BYTES:
            return None
        with self._lock:
            if self._segments is None:
                self._segments = Segments(self._host, self._limit_bytes, self._lease_s)
        block = self._segments.write(coded)
        if block is None:
            metrics.SHARED_MEMORY_FULL.inc()
        return block

    def _post(self, parcel: _Parcel) -> bool:
        """Whether the job was still at this step, and has it now."""

        def post() -> bool:
            with self._servers.links() as links:
                return self._post_once(links, parcel)

        return self._retry.call_with_retry(post, lambda error: None)

    def _post_once(self, links: Links, parcel: _Parcel) -> bool:
        request, answer, striped = parcel.request, parcel.answer, parcel.striped
        if striped is not None and answer.body is not None:
            key = body_key(request, answer.index, secrets.token_hex(4))
            servers = self._pressure.within_room(
                links,
                len(striped),
                lambda: self._is_wanted(links, request),
                lambda: self._stripes.put(links, key, striped),
            )
            if servers is None:
                return False
            answer = _with_body(answer, answer.body, Keys(key=key, servers=servers))
        frame = pack_bytes(answer.model_dump(), parcel.inline)
        return self._push(links, request, frame)

    def _is_wanted(self, links: Links, request: StepRequest) -> bool:
        home = links[HOME]
        home.send([(b"GET", turn_key(request.job_id).encode())])
        turn = home.read(REPLY_S)
        return turn is not None and turn.startswith(request.any_send.encode())

    def _push(self, links: Links, request: StepRequest, frame: bytes) -> bool:
        keys = (turn_key(request.job_id).encode(), answers_key(request).encode())
        home = links[HOME]
        home.send(
            [(b"EVALSHA", _PUSH_SHA, b"2", *keys, request.any_send.encode(), self._ttl_s, memoryview(frame))]
        )
        return bool(home.read(REPLY_S))


def _with_body(answer: Answer, body: Body, place: Keys | Block | None) -> Answer:
    return answer.model_copy(update={"body": body.model_copy(update={"place": place})})


def _memory(tensor: Tensor) -> memoryview:
    return bytes_of(tensor.to("cpu").contiguous())
