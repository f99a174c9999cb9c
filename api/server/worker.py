"""The API's server: gunicorn's gevent worker with a deadline for whatever a client can delay.

``gunicorn --worker-class api.server.worker.ApiWorker api.wsgi:app``. A connection is a greenlet, so thousands
that are idle or slow cost memory and no thread. gunicorn loads this module before gevent has patched
the standard library: nothing that opens sockets or makes locks may be imported here.
"""

import logging
import resource
import ssl
from typing import Any

import gevent
from gunicorn.arbiter import Arbiter
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

from api.server.client_socket import ClientSocket, MinTransferRate
from api.server.connections import Connections, TooManyConnections
from api.server.disconnects import Disconnects
from api.server.exposure import check_exposure
from api.server.memory import set_malloc_trim_threshold
from shared.settings import read_settings
from shared.startup import exit_with_reason

log = logging.getLogger(__name__)

#: Connections beyond the limit that are answered 503 at the same time.
REFUSED_AT_ONCE = 64
#: Open files of a process apart from connections of clients and of event streams: S3, libraries.
OTHER_FILES = 512
#: Read at once from a body that is to be discarded.
READ_BYTES = 1 << 20
#: Errors of gunicorn's parser that have a better status than 400.
_STATUS: dict[type[Exception], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
    errors.ForbiddenProxyRequest: 403,
}


class ApiWorker(GeventWorker):
    """Limits connections, and the time of headers, bodies and responses; refuses with problem documents."""

    def init_process(self) -> None:
        """As gunicorn's, with our settings."""
        with exit_with_reason(Arbiter.APP_LOAD_ERROR):
            self.settings = settings = read_settings()
            addresses = [listener.getsockname() for listener in self.sockets]
            check_exposure(settings, [address[0] for address in addresses if isinstance(address, tuple)])
        self.worker_connections = settings.api_connections + REFUSED_AT_ONCE
        self.connections = Connections(settings.api_connections, settings.api_connections_per_client)
        self.disconnects = Disconnects()
        if not self.cfg.keepalive:
            self.cfg.set("keepalive", 1)  # 0 would leave headers without a deadline
        # SWIFT_TRUSTED_PROXIES alone decides which proxies are trusted.
        self.cfg.set("forwarded_allow_ips", "")
        self.cfg.set("forwarder_headers", "")
        set_malloc_trim_threshold()
        _allow_open_files(self.worker_connections + settings.api_event_streams + OTHER_FILES)
        super().init_process()

    def timeout_ctx(self) -> gevent.Timeout:
        """The deadline of a request's header, counted from the connection's opening or the last response."""
        return gevent.Timeout(self.settings.header_timeout_s, False)

    def notify(self) -> None:
        """Called once a second."""
        super().notify()
        self.disconnects.check()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection, from a greenlet of its own."""
        settings = self.settings
        sending = MinTransferRate(settings.response_timeout_s, settings.client_min_bytes_per_s)
        sock = ClientSocket(client, sending=sending, abort=self.disconnects.abort_on_disconnect)
        try:
            with self.connections.admit(addr[0] if isinstance(addr, tuple) else ""):
                if isinstance(client, ssl.SSLSocket):
                    with gevent.Timeout(settings.header_timeout_s, TimeoutError):
                        client.do_handshake()
                super().handle(listener, sock, addr)
        except TooManyConnections as error:
            self._refuse_connection(sock, addr, error)
        except OSError as error:
            log.debug("connection ended", extra={"error": repr(error)})
            sock.close()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request of a connection."""
        sock.take_turns()
        try:
            super().handle_request(listener_name, req, sock, addr)
        except StopIteration:  # the connection closes
            self._read_rest(req, sock)
            raise
        if not self._read_rest(req, sock):
            raise StopIteration

    def _read_rest(self, req: Any, sock: ClientSocket) -> bool:
        """Read what the application has not, since a client that still sends would not receive the response.

        Returns whether that was all. gunicorn's own way reads it without a pause, and copies what it has
        received with every kilobyte: other clients would wait for seconds.
        """
        left = self.settings.max_lora_bytes  # no body may have more
        try:
            with sock.receiving(
                MinTransferRate(self.settings.body_timeout_s, self.settings.client_min_bytes_per_s)
            ):
                while left > 0 and not req.body.failed:
                    data = req.body.read(READ_BYTES)
                    if not data:
                        return True
                    left -= len(data)
        except (OSError, EOFError, errors.ParseException) as error:
            log.debug("rest of a body not read", extra={"error": repr(error)})
        return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Refuse a request that never reached the application, or that failed outside of it."""
        is_ours = isinstance(exc, (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName))
        if isinstance(exc, errors.ParseException) and not is_ours:
            status = next((code for kind, code in _STATUS.items() if isinstance(exc, kind)), 400)
            self._send_problem(client, addr, status, f"the request is not well-formed HTTP: {exc}")
        else:
            log.error("request failed outside of the application", exc_info=exc)
            self._send_problem(client, addr, 500, "an unexpected error; see the log of the API")

    def _refuse_connection(self, client: ClientSocket, addr: Any, error: TooManyConnections) -> None:
        if error.of_client:
            setting, detail = "PER_CLIENT", f"this address has {error.limit} connections open"
            self._send_problem(client, addr, 429, f"{detail} (SWIFT_API_CONNECTIONS_{setting})")
        else:
            self._send_problem(
                client, addr, 503, f"{error.limit} connections are open (SWIFT_API_CONNECTIONS)"
            )
        client.close()

    def _send_problem(self, client: Any, addr: Any, status: int, detail: str) -> None:
        from api.schemas.problems import raw_problem  # not above: it loads the rest of the web

        peer = addr[0] if isinstance(addr, tuple) else ""
        log.info("request refused", extra={"status": status, "client": peer, "detail": detail})
        try:
            client.sendall(raw_problem(status, detail))
        except OSError as error:
            log.debug("refusal not sent", extra={"error": repr(error)})


def _allow_open_files(needed: int) -> None:
    """Raise this process's limit of open files; log a warning if the system's is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        fields = {"needed": needed, "allowed": allowed}
        log.warning("the system allows fewer open files than SWIFT_API_CONNECTIONS needs", extra=fields)
