"""A server that gives scripted answers: what a client meets, without a fleet."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Status and body of the answers at a path, one after the other; the last one again and again.
Answers = Mapping[str, list[tuple[int, bytes]]]


@dataclass
class ScriptedApi:
    """``requests`` are the method, path and JSON body of every request so far."""

    url: str
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


@contextmanager
def scripted_api(
    answers: Answers, before: Callable[[str], object] = lambda path: None
) -> Iterator[ScriptedApi]:
    """Serve ``answers``; a path ends with ``after ID`` where the request has a ``Last-Event-ID``.

    ``before`` is called with the path of each request that has come, before it is answered.
    """
    left = {path: list(script) for path, script in answers.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            api.requests.append((self.command, self.path, json.loads(body) if body else None))
            api.authorizations.append(self.headers.get("Authorization"))
            if "Idempotency-Key" in self.headers:
                api.keys.append(self.headers["Idempotency-Key"])
            before(self.path)
            last = self.headers.get("Last-Event-ID")
            script = left[f"{self.path} after {last}" if last else self.path]
            status, answer = script.pop(0) if len(script) > 1 else script[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PATCH = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api = ScriptedApi(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()


def events(*script: tuple[str, dict[str, Any]]) -> bytes:
    """A stream of server-sent events."""
    return b"".join(
        f"id: {n}-0\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
        for n, (kind, data) in enumerate(script, 1)
    )


def job_answers(status: str = "succeeded", **changes: Any) -> dict[str, list[tuple[int, bytes]]]:
    """Everything an API answers about one job with two images."""
    home = "/v1/jobs/ab12"
    accepted = {"id": "ab12", "links": {"self": home, "events": f"{home}/events"}}
    images = [{"url": f"{home}/images/{n}"} for n in range(2)] if status == "succeeded" else []
    job = {"id": "ab12", "status": status, "images": images, "error": None, "warnings": [], **changes}
    stream = events(
        ("status", {"status": "running"}),
        ("progress", {"step": 3, "total": 6}),
        ("done", {"status": status}),
    )
    return {
        "/v1/jobs": [(202, json.dumps(accepted).encode())],
        home: [(200, json.dumps(job).encode())],
        f"{home}/events": [(200, stream)],
        f"{home}/cancel": [(202, json.dumps(job).encode())],
        **{image["url"]: [(200, f"PNG {n}".encode())] for n, image in enumerate(images)},
    }
