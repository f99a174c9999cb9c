"""A Redis connection for large values, which are sent from their own memory and received into given memory.

redis-py joins a value with its command and collects replies in fresh memory, which costs more than the
network. Here a command is sent as a vector of pieces, and a bulk reply is received into memory of the caller.
Everything around it is redis-py's: the address, the handshake (AUTH, SELECT, TLS), the errors.
RESP2: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

import select
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, InvalidResponse, OutOfMemoryError, ResponseError, TimeoutError
from redis.retry import Retry

#: The words of a command; tensors are passed as memoryviews of bytes.
Command = Sequence[bytes | memoryview]
#: The kernel takes at most this many pieces at once (IOV_MAX).
MAX_PIECES = 512
#: Read ahead for the first lines of replies. Small, because what belongs to a large value is copied once
#: more.
AHEAD_BYTES = 16 << 10
#: The server accepts more of a command within this, unless its caller knows better.
SEND_S = 10.0


class Connection:
    """One connection, for one thread at a time. After an error other than Redis' own it is closed."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        once = Retry(NoBackoff(), 0)  # the caller decides about retries
        self._opened: Any = pool.connection_class(**{**pool.connection_kwargs, "retry": once})
        self._opened.connect()
        self._socket: socket.socket = self._opened._sock  # redis-py offers no public way to it
        self._ahead = bytearray(AHEAD_BYTES)
        self._start = self._end = 0
        self._pending = 0

    @property
    def pending(self) -> int:
        """Replies to commands that were sent, and that were not read yet."""
        return self._pending

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return self._opened._sock is not None

    def is_alive(self) -> bool:
        """Whether it can be used and, while no reply is pending, whether the server has not hung up.

        Over TLS only the next use tells the latter: TLS' own traffic looks the same from here.
        """
        is_tls = isinstance(self._socket, ssl.SSLSocket)
        if self.is_open and not self._pending and not is_tls and self._is_readable():
            self.close()  # nothing was asked, so this is the end of the connection
        return self.is_open

    def has_reply(self) -> bool:
        """Whether some of a pending reply is there, or the end of the connection; does not wait."""
        if not self._pending:
            return False
        if self._start < self._end or self._is_readable():
            return True
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def close(self) -> None:
        """Hang up."""
        self._opened.disconnect()

    def send(self, commands: Sequence[Command], timeout_s: float = SEND_S) -> None:
        """Send commands; each has one reply to read. The server accepts more of them within ``timeout_s``."""
        pieces: list[bytes | memoryview] = []
        for command in commands:
            pieces += _pieces(command)
        self._pending += len(commands)
        try:
            self._socket.settimeout(timeout_s)
            self._send(pieces)
        except OSError as error:
            raise self._broken(error) from error

    def read(self, timeout_s: float) -> Any:
        """The next reply: a number, bytes, a list or ``None``; raises what redis-py would."""
        self._pending -= 1
        try:
            self._socket.settimeout(timeout_s)
            return self._value()
        except OSError as error:
            raise self._broken(error) from error

    def read_into(self, memory: memoryview, timeout_s: float) -> bool:
        """Receive a bulk reply of exactly this size; ``False`` if there is no such value."""
        self._pending -= 1
        try:
            self._socket.settimeout(timeout_s)
            kind, length = self._first_line()
            if kind == b"$" and length == b"-1":
                return False
            if kind == b"-":
                raise _error_reply(length)
            if kind != b"$" or int(length) != len(memory):
                self.close()
                raise InvalidResponse(f"{kind + length!r} where {len(memory)} bytes were expected")
            self._fill(memory)
            self._skip_end()
            return True
        except OSError as error:
            raise self._broken(error) from error

    def read_pending(self, timeout_s: float) -> list[Any]:
        """Read every pending reply; raises the first error among them."""
        replies, first_error = [], None
        while self._pending:
            try:
                replies.append(self.read(timeout_s))
            except ResponseError as error:
                first_error = first_error or error
        if first_error is not None:
            raise first_error
        return replies

    def _is_readable(self) -> bool:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(0))

    def _send(self, pieces: list[bytes | memoryview]) -> None:
        if isinstance(self._socket, ssl.SSLSocket):  # has no sendmsg
            for piece in pieces:
                self._socket.sendall(piece)
            return
        first = 0
        while first < len(pieces):
            sent = self._socket.sendmsg(pieces[first : first + MAX_PIECES])
            while first < len(pieces) and sent >= len(pieces[first]):
                sent -= len(pieces[first])
                first += 1
            if sent:
                pieces[first] = memoryview(pieces[first])[sent:]

    def _value(self) -> Any:
        kind, rest = self._first_line()
        match kind:
            case b"+":
                return rest
            case b":":
                return int(rest)
            case b"-":
                raise _error_reply(rest)
            case b"$":
                if rest == b"-1":
                    return None
                data = bytearray(int(rest))
                self._fill(memoryview(data))
                self._skip_end()
                return bytes(data)
            case b"*":
                return None if rest == b"-1" else [self._value() for _ in range(int(rest))]
        self.close()
        raise InvalidResponse(f"{kind + rest!r} is not RESP2")

    def _first_line(self) -> tuple[bytes, bytes]:
        """The first line of a reply, split after its kind."""
        while True:
            at = self._ahead.find(b"\r\n", self._start, self._end)
            if at >= 0:
                line = bytes(self._ahead[self._start : at])
                self._start = at + 2
                return line[:1], line[1:]
            self._read_ahead()

    def _skip_end(self) -> None:
        while self._end - self._start < 2:
            self._read_ahead()
        self._start += 2

    def _fill(self, memory: memoryview) -> None:
        have = min(self._end - self._start, len(memory))
        memory[:have] = self._ahead[self._start : self._start + have]
        self._start += have
        while have < len(memory):
            got = self._socket.recv_into(memory[have:])
            if not got:
                raise ConnectionResetError("the server hung up")
            have += got

    def _read_ahead(self) -> None:
        left = self._end - self._start
        if left == AHEAD_BYTES:
            self.close()
            raise InvalidResponse("a reply without end of line")
        self._ahead[:left] = self._ahead[self._start : self._end]
        self._start, self._end = 0, left
        got = self._socket.recv_into(memoryview(self._ahead)[left:])
        if not got:
            raise ConnectionResetError("the server hung up")
        self._end += got

    def _broken(self, error: OSError) -> redis.RedisError:
        self.close()
        kind = TimeoutError if isinstance(error, socket.timeout) else ConnectionError
        return kind(f"residual Redis: {error}")


def _pieces(command: Command) -> list[bytes | memoryview]:
    """A command in RESP; memoryviews are not copied."""
    pieces: list[bytes | memoryview] = []
    text = b"*%d\r\n" % len(command)
    for word in command:
        text += b"$%d\r\n" % len(word)
        if isinstance(word, bytes):
            text += word + b"\r\n"
        else:
            pieces += [text, word]
            text = b"\r\n"
    return [*pieces, text]


def _error_reply(text: bytes) -> ResponseError:
    kind = OutOfMemoryError if text.startswith(b"OOM") else ResponseError
    return kind(text.decode())
