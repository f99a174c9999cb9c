"""Flower for the fleet: ``SWIFT_FLOWER_BASIC_AUTH=user:password python -m infra.flower``.

It differs from ``celery flower`` in five ways: it connects with the fleet's TLS options, which that command
does not take; it does not start without a login, as it can stop workers; beside an API that asks for keys an
admin's API key is a login, too, and its metrics ask for one; it refuses requests under another host name,
which a page of another site could send after DNS rebinding; and it inspects workers that start after it.
Other options are Flower's own, as ``FLOWER_*`` variables.
"""

import atexit
import base64
import hmac
import logging
import secrets
import signal
from pathlib import Path
from typing import Any

import redis
from flower.app import Flower
from flower.command import apply_env_options, extract_settings, sigterm_handler
from flower.options import default_options as options
from flower.urls import settings as tornado_settings
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import PeriodicCallback
from tornado.web import ErrorHandler

from api.auth.credentials import read_credentials
from api.auth.verifier import KeyVerifier
from api.middleware.allowed_hosts import AllowedHosts
from shared.catalog.catalog import read_catalog
from shared.errors import InvalidSetting, SwiftError
from shared.logs import configure_logs
from shared.messaging.celery_app import controlnet_queue, make_celery, unet_queue
from shared.redis_clients import control_redis, without_retries
from shared.settings import Settings, read_settings
from shared.startup import exit_with_reason
from shared.tenants.key_store import KeyStore
from shared.tenants.sessions import SessionStore

#: Answered without a login: who starts Flower asks it.
HEALTH = "/healthcheck"
#: Flower itself asks nobody for a login there.
METRICS = "/metrics"
#: Milliseconds between two polls for workers that have not been inspected.
INSPECT_MS = 1000


class Unauthorized(ErrorHandler):
    """Asks for a login."""

    def set_default_headers(self) -> None:
        """With what a browser asks its user for."""
        self.set_header("WWW-Authenticate", 'Basic realm="flower"')


class FleetFlower(Flower):
    """Flower that answers to ``allowed`` hosts only, and inspects each worker once it is there.

    With a ``verifier`` an admin's API key is a login, and only the health check is answered without one.
    Where people log in elsewhere (OAuth, ``FLOWER_AUTH``), it is the login of the metrics alone.
    """

    def __init__(self, allowed: AllowedHosts, verifier: KeyVerifier | None, **options: Any) -> None:
        super().__init__(**options)
        self._allowed, self._verifier = allowed, verifier

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Route a request; tornado calls it for each."""
        if not self._allowed.answers_to(request.host):
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
        is_guarded = request.path.endswith(METRICS) if self.options.auth else request.path != HEALTH
        if self._verifier is not None and is_guarded:
            status = self._log_in(request, self._verifier)
            if status != 200:
                handler = Unauthorized if status == 401 else ErrorHandler
                return self.get_handler_delegate(request, handler, {"status_code": status})
        return super().find_handler(request, **kwargs)

    def _log_in(self, request: HTTPServerRequest, verifier: KeyVerifier) -> int:
        """Put Flower's own login in place of an admin's API key; returns the status that refuses, or 200."""
        header = request.headers.get("Authorization")
        if header is None:
            return 401
        own = [basic_header(login) for login in self.options.basic_auth]
        if any(hmac.compare_digest(header.encode(), known.encode()) for known in own):
            return 200
        credentials = read_credentials({"HTTP_AUTHORIZATION": header})
        try:
            assert credentials is not None  # there is a header
            principal = verifier.principal_of(credentials, request.remote_ip or "")
        except SwiftError as error:
            return error.status
        except redis.RedisError:
            return 503
        if not principal.is_admin:
            return 403
        if own:
            request.headers["Authorization"] = own[0]
        return 200

    def start(self) -> None:
        """Serve until the process is asked to end."""
        PeriodicCallback(self._inspect_new_workers, INSPECT_MS).start()
        super().start()

    def _inspect_new_workers(self) -> None:
        alive = {name for name, worker in self.events.state.workers.items() if worker.alive}
        known = {name for name, info in self.workers.items() if "active_queues" in info and "stats" in info}
        for name in alive - known:
            self.update_workers(name)


def main() -> None:
    """Run Flower with the settings and the ``FLOWER_*`` variables."""
    with exit_with_reason():
        settings = read_settings()
        configure_logs(settings)
        for name in ("tornado.access", "flower.inspector"):  # each request; no worker has answered yet
            logging.getLogger(name).setLevel(logging.ERROR)
        options.address, options.port = settings.flower_host, settings.flower_port
        options.enable_events = False  # all workers send events from their start, by -E
        apply_env_options()
        verifier = _set_logins(settings)
        if not (options.basic_auth or options.auth):
            raise InvalidSetting("SWIFT_FLOWER_BASIC_AUTH=user:password is needed: Flower can stop workers")
        app = make_celery(settings, queue_names(settings))
        allowed = AllowedHosts(settings.allowed_hosts, own=settings.flower_host)
    extract_settings()
    server = FleetFlower(allowed, verifier, capp=app, options=options, **tornado_settings)
    atexit.register(server.stop)
    signal.signal(signal.SIGTERM, sigterm_handler)
    server.start_http_server()
    server.start()


def _set_logins(settings: Settings) -> KeyVerifier | None:
    """Set Flower's own login; returns what verifies API keys, if the API beside it does."""
    if settings.flower_basic_auth is not None:
        options.basic_auth = [settings.flower_basic_auth]
    if settings.auth == "off":
        return None
    if not (options.basic_auth or options.auth):
        options.basic_auth = [f"flower:{secrets.token_urlsafe(24)}"]  # nobody's: API keys stand for it
    control = without_retries(control_redis(settings))  # all of Flower waits meanwhile
    sessions = SessionStore(control, settings.session_ttl_s)
    return KeyVerifier(settings, KeyStore(control), sessions)


def basic_header(login: str) -> str:
    """The header of a login, USER:PASSWORD."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def queue_names(settings: Settings) -> list[str]:
    """The queues that the broker page lists before any worker is known."""
    catalog = read_catalog(Path(settings.catalog), settings)
    return [*map(unet_queue, catalog.models), *map(controlnet_queue, catalog.controlnets)]


if __name__ == "__main__":
    main()
