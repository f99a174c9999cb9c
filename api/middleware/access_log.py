"""Logs a line for every request, once its response has been sent or has failed."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

log = logging.getLogger("api.access")

#: Key of the route in the WSGI environment; `request_metrics` sets it.
ROUTE = "swift.route"
#: Keys of the tenant and of the id of the API key; `api.auth.authentication` sets them.
TENANT, KEY_ID = "swift.tenant", "swift.key_id"
#: nginx's status for a client that has disconnected before the response.
CLIENT_GONE = 499
#: Longer paths are cut: no route of ours has them.
PATH_CHARS = 200

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class AccessLog:
    """WSGI middleware. Queries and headers are not logged: they may hold private data."""

    def __init__(self, app: Wsgi) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = _Response(environ)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            response.status = int(status.split(" ", 1)[0])
            return start_response(status, headers, *rest)

        try:
            response.body = self._app(environ, start)
        except BaseException:
            response.close()
            raise
        return response


class _Response:
    """The body of a response; the request ends when it does."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self._began = time.perf_counter()
        self._bytes = 0
        self.status = CLIENT_GONE
        self.body: Iterable[bytes] = ()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.body:
            self._bytes += len(chunk)
            yield chunk

    def close(self) -> None:
        """Called by the server, whatever has happened."""
        try:
            getattr(self.body, "close", lambda: None)()
        finally:
            environ = self._environ
            fields = {
                "method": environ.get("REQUEST_METHOD", ""),
                "route": environ.get(ROUTE, "none"),
                "path": environ.get("PATH_INFO", "")[:PATH_CHARS],
                "status": self.status,
                "ms": round(1e3 * (time.perf_counter() - self._began), 1),
                "bytes": self._bytes,
                "client": environ.get("REMOTE_ADDR", ""),
            }
            if TENANT in environ:
                fields |= {"tenant": environ[TENANT], "key": environ.get(KEY_ID)}
            log.info("request", extra=fields)
