"""Reads request bodies: within a minimum speed and a memory budget, well-formed and decoded."""

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from flask import Flask, g, request
from gunicorn.http.errors import LimitRequestHeaders, ParseException
from werkzeug.exceptions import RequestHeaderFieldsTooLarge, UnsupportedMediaType
from werkzeug.wsgi import get_content_length, get_input_stream

from api.server.client_socket import MinTransferRate
from shared.errors import BadRequest, RequestTimeout, TooLarge, Unavailable
from shared.settings import Settings

#: Of forms with files, which are held in memory as JSON is.
FORM = "multipart/form-data"
#: ``wbits`` of a gzip member.
_GZIP = 16 + zlib.MAX_WBITS
#: As much as gunicorn receives at once: of smaller pieces it copies what is left over each time.
_PIECE_BYTES = 1 << 20


def register(app: Flask, settings: Settings) -> None:
    """Read the bodies of requests to ``app`` this way.

    ``g.max_body_bytes``, set before, is a smaller limit of one request. Reading raises `RequestTimeout` for a
    client slower than ``client_min_bytes_per_s``, `BadRequest` for broken framing or compression; of JSON
    and of forms also `TooLarge` beyond ``max_body_bytes``, `Unavailable` while others have ``api_body_bytes``
    in memory.
    """
    budget = Budget(settings.api_body_bytes, "large bodies (SWIFT_API_BODY_BYTES)")

    @app.before_request
    def before_request() -> None:
        environ = request.environ
        pace = MinTransferRate(settings.body_timeout_s, settings.client_min_bytes_per_s)
        environ["wsgi.input"] = TimedBody(environ["wsgi.input"], environ.get("gunicorn.socket"), pace)
        limit = g.get("max_body_bytes", settings.max_body_bytes)
        coding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if not request.is_json:
            if coding != "identity":
                raise CodingRefused(f"Content-Encoding {coding!r}: only JSON bodies may be compressed")
            if request.mimetype == FORM:
                g.held = environ["wsgi.input"] = BufferedBody(environ["wsgi.input"], limit, budget)
            return
        check_length(limit)
        if coding in ("gzip", "x-gzip"):
            environ["wsgi.input"] = GunzipReader(get_input_stream(environ))
            environ["wsgi.input_terminated"] = True
            environ.pop("CONTENT_LENGTH", None)  # it is that of the compressed body
        elif coding != "identity":
            raise CodingRefused(f"Content-Encoding {coding!r} is not accepted: gzip is, or none")
        g.held = environ["wsgi.input"] = BufferedBody(environ["wsgi.input"], limit, budget)

    @app.teardown_request
    def teardown_request(_: BaseException | None) -> None:
        release_body()


def check_length(limit: int) -> None:
    """Refuse a body that says itself that it has more than ``limit`` bytes; raises `TooLarge`."""
    length = get_content_length(request.environ)
    if length is not None and length > limit:
        raise _too_large(limit)


def release_body() -> None:
    """What the present request's body counts for is others' again: nothing refers to the body any more."""
    if "held" in g:
        g.held.release()


class Budget:
    """Limits the bytes that all requests of the process hold in memory; ``what`` names them in errors."""

    def __init__(self, limit: int, what: str = "large bodies") -> None:
        self._lock = threading.Lock()
        self._left = limit
        self._what = what

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Use ``count`` bytes of it for the block, or raise `Unavailable`."""
        self.take(count)
        try:
            yield
        finally:
            self.give_back(count)

    def take(self, count: int) -> None:
        """Use ``count`` bytes of it, or raise `Unavailable`."""
        with self._lock:
            if count > self._left:
                raise Unavailable(f"too many {self._what} are being read right now")
            self._left -= count

    def give_back(self, count: int) -> None:
        """Return bytes to the budget."""
        with self._lock:
            self._left += count


class TimedBody:
    """The body as the server gives it, with its errors translated to ours."""

    def __init__(self, body: IO[bytes], sock: Any, pace: MinTransferRate) -> None:
        self._body, self._sock, self._pace = body, sock, pace

    def read(self, count: int = -1) -> bytes:
        """Like a file's."""
        try:
            if hasattr(self._sock, "receiving"):
                with self._sock.receiving(self._pace):
                    return self._body.read(count)
            return self._body.read(count)
        except TimeoutError:
            raise RequestTimeout("the body comes too slowly (SWIFT_BODY_TIMEOUT_S)") from None
        except LimitRequestHeaders as error:
            raise RequestHeaderFieldsTooLarge(f"the body's trailers: {error}") from None
        except (ParseException, EOFError) as error:
            raise BadRequest(f"the body is not well-formed: {error}") from None
        except OSError as error:
            raise BadRequest(f"the body breaks off: {error}") from None


class BufferedBody:
    """A body that is read into memory as a whole: limited by ``limit``, and all of them by ``budget``."""

    def __init__(self, body: Any, limit: int, budget: Budget) -> None:
        self._body, self._limit, self._budget = body, limit, budget
        self._taken = 0

    def read(self, count: int = -1) -> bytes:
        """Like a file's."""
        if count < 0:
            return b"".join(iter(lambda: self.read(_PIECE_BYTES), b""))
        data: bytes = self._body.read(count)
        if self._taken + len(data) > self._limit:
            raise _too_large(self._limit)
        self._budget.take(len(data))
        self._taken += len(data)
        return data

    def release(self) -> None:
        """The request is over."""
        self._budget.give_back(self._taken)
        self._taken = 0


class GunzipReader:
    """The bytes of a gzip member, decoded only as far as they are read: a small body may hold gigabytes."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body
        self._decoder = zlib.decompressobj(_GZIP)

    def read(self, count: int) -> bytes:
        """Like a file's; raises `BadRequest` if this is no gzip, or not the whole of it."""
        data = b""
        try:
            while not data and not self._decoder.eof:
                raw = self._decoder.unconsumed_tail or self._body.read(_PIECE_BYTES)
                if not raw:
                    raise BadRequest("Content-Encoding is gzip, and the body ends too early")
                data = self._decoder.decompress(raw, count)
        except zlib.error as error:
            raise BadRequest(f"Content-Encoding is gzip, and the body is not: {error}") from None
        if self._decoder.unused_data:
            raise BadRequest("Content-Encoding is gzip, and more follows the gzip data")
        return data


class CodingRefused(UnsupportedMediaType):
    """A Content-Encoding that is not accepted; the response says which are."""

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """With the codings that are accepted."""
        return [*super().get_headers(*args, **kwargs), ("Accept-Encoding", "gzip")]


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the body has more than {limit} bytes, the limit (SWIFT_MAX_BODY_BYTES; less without a key)"
    )
