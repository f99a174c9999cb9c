"""A reverse proxy that serves another server under a prefix, which it cuts off; nothing else is there."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER_S = 60.0


@contextmanager
def prefix_proxy(prefix: str, port: int) -> Iterator[str]:
    """A proxy to a server of this machine, for the length of the block; its address ends with ``prefix``."""

    class Handler(BaseHTTPRequestHandler):
        """Passes one request on, and what comes back as it comes: an event stream has no end."""

        def do_GET(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            with (
                suppress(ConnectionError),  # the browser has left
                socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as server,
            ):
                server.sendall(self._request())
                while data := self._wait(server):
                    self.connection.sendall(data)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

        def _request(self) -> bytes:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            headers |= {
                "Connection": "close",
                "X-Forwarded-For": self.client_address[0],
                "X-Forwarded-Host": self.headers["Host"],
                "X-Forwarded-Proto": "http",
                "X-Forwarded-Prefix": prefix,
            }
            lines = [f"{self.command} {self.path.removeprefix(prefix)} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

        def _wait(self, server: socket.socket) -> bytes:
            """What the server sends next; nothing once it, or the browser, has hung up."""
            ready, _, _ = select.select([server, self.connection], [], [])
            return server.recv(65536) if server in ready else b""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=listener.serve_forever, name="prefix proxy")
    serving.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}{prefix}"
    finally:
        listener.shutdown()
        serving.join()
        listener.server_close()
