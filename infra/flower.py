"""Flower for the fleet: ``FLOWER_BASIC_AUTH=user:password python -m infra.flower``.

It differs from ``celery flower`` in four ways: it connects with the fleet's TLS options, which that command
does not take; it does not start without a login, as it can stop workers; it refuses requests under another
host name, which a page of another site could send after DNS rebinding; and it inspects workers that start
after it. Options are Flower's own, as ``FLOWER_*`` variables.
"""

import atexit
import logging
import signal
from pathlib import Path
from typing import Any

from flower.app import Flower
from flower.command import apply_env_options, extract_settings, sigterm_handler
from flower.options import default_options as options
from flower.urls import settings as tornado_settings
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import PeriodicCallback
from tornado.web import ErrorHandler

from api.middleware.allowed_hosts import AllowedHosts
from shared.catalog.catalog import read_catalog
from shared.errors import InvalidSetting
from shared.logs import configure_logs
from shared.messaging.celery_app import controlnet_queue, make_celery, unet_queue
from shared.settings import Settings, read_settings
from shared.startup import exit_with_reason

#: Seconds between two polls for workers that have not been inspected.
INSPECT_MS = 1000


class FleetFlower(Flower):
    """Flower that answers to ``allowed`` hosts only, and inspects each worker once it is there."""

    def __init__(self, allowed: AllowedHosts, **options: Any) -> None:
        super().__init__(**options)
        self._allowed = allowed

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Route a request; tornado calls it for each."""
        if not self._allowed.answers_to(request.host):
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
        return super().find_handler(request, **kwargs)

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
        if not (options.basic_auth or options.auth):
            raise InvalidSetting("FLOWER_BASIC_AUTH=user:password is needed: Flower can stop workers")
        app = make_celery(settings, queue_names(settings))
        allowed = AllowedHosts(settings.allowed_hosts, own=settings.flower_host)
    extract_settings()
    server = FleetFlower(allowed, capp=app, options=options, **tornado_settings)
    atexit.register(server.stop)
    signal.signal(signal.SIGTERM, sigterm_handler)
    server.start_http_server()
    server.start()


def queue_names(settings: Settings) -> list[str]:
    """The queues that the broker page lists before any worker is known."""
    catalog = read_catalog(Path(settings.catalog), settings)
    return [*map(unet_queue, catalog.models), *map(controlnet_queue, catalog.controlnets)]


if __name__ == "__main__":
    main()
