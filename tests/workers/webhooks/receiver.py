"""A receiver of webhooks: an HTTP server on loopback that keeps what it gets and answers as it is told."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any, NamedTuple

from standardwebhooks import Webhook


class Received(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """The payload, as a receiver's library reads it; raises for a signature that is not the secret's."""
        return Webhook(secret).verify(self.body, self.headers)


#: Answers a request by writing to the handler.
Answer = Callable[[Received, BaseHTTPRequestHandler], None]


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """An ordinary answer; underscores in names of headers are hyphens."""

    def answer(_: Received, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def raw(data: bytes) -> Answer:
    """Bytes in place of an answer."""
    return lambda _, handler: handler.wfile.write(data) and None


class Receiver:
    """What was received, and how it is answered next."""

    def __init__(self) -> None:
        self.requests: Queue[Received] = Queue()
        self.answer: Answer = status(204)
        self.stopping = threading.Event()
        self.port = 0

    def url(self, path: str = "/hooks") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def next(self, timeout_s: float = 60) -> Received:
        """The next request; raises `queue.Empty` when none comes."""
        return self.requests.get(timeout=timeout_s)

    def all(self) -> list[Received]:
        """What has come until now."""
        return [self.requests.get_nowait() for _ in range(self.requests.qsize())]


@contextmanager
def running_receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that serves until the end of the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(self.path, headers, body)
            receiver.requests.put(received)
            try:
                receiver.answer(received, self)
            except OSError:
                self.close_connection = True  # the sender has hung up

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
