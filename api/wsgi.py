"""The API as gunicorn loads it (``api.wsgi:app``). The only module of the web that acts on import."""

import gc

gc.disable()  # until the app is made: that frees nothing, and collections take a sixth of the time

import logging

import redis
from gunicorn.arbiter import Arbiter

from api.app import create_app
from api.routes.health import publish_metrics
from api.services import Services, connect
from shared.catalog.catalog import read_catalog
from shared.jobs.job_script import silence_s
from shared.logs import configure_logs
from shared.periodic_thread import PeriodicThread
from shared.settings import read_settings
from shared.startup import exit_with_reason

log = logging.getLogger(__name__)


def _publish_metrics(services: Services) -> None:
    try:
        publish_metrics(services)
    except redis.RedisError as error:
        log.warning("metrics not published", extra={"error": type(error).__name__})


def _observe(services: Services) -> None:
    """Tell an outage of the control Redis from the death of the only worker, which looks for neither then."""
    try:
        services.jobs.observe()
    except redis.RedisError as error:
        log.warning("the control Redis does not answer", extra={"error": type(error).__name__})


def _probe_durability(services: Services) -> None:
    """A server that cannot do what the settings demand stops the start; one that is away is asked later."""
    try:
        services.jobs.durability.probe()
    except redis.RedisError as error:
        log.warning("the control Redis does not answer yet", extra={"error": type(error).__name__})


with exit_with_reason(Arbiter.APP_LOAD_ERROR):  # gunicorn then stops: it would restart on other codes
    settings = read_settings()
    services = connect(settings, read_catalog(settings.catalog, settings))
    _probe_durability(services)
configure_logs(settings, process=services.process)
for name in ("gunicorn.error", "gunicorn.access"):  # they quote requests: escaped like all the rest
    logging.getLogger(name).handlers.clear()
    logging.getLogger(name).propagate = True
with exit_with_reason(Arbiter.APP_LOAD_ERROR):  # what settings demand of the catalog
    app = create_app(services)
gc.freeze()  # what has been made so far stays, and no collection visits it again
gc.enable()
PeriodicThread(
    "metrics", settings.heartbeat_s, lambda: _publish_metrics(services), call_at_start=True
).start()
# Not with the metrics: an operator may want those more rarely than workers can be silent.
PeriodicThread("observe", silence_s(settings.lease_s) / 4, lambda: _observe(services)).start()
