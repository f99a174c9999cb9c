"""``python -m workers.webhooks``: the process that sends webhooks, and ends late jobs. Any number may run."""

import logging
import os
import signal
import socket
import threading
from functools import partial

from redis.exceptions import RedisError

from shared.jobs.store import JobStore
from shared.logs import configure_logs
from shared.metrics import publish
from shared.periodic_thread import PeriodicThread
from shared.redis_clients import control_redis
from shared.settings import Settings, read_settings
from shared.startup import exit_with_reason
from shared.webhooks.deliveries import DeliveryStore
from shared.webhooks.dispatchers import PREFIX
from shared.webhooks.endpoint_store import EndpointStore
from shared.webhooks.targets import Targets
from workers.webhooks.deadlines import EVERY_S, fail_late_jobs
from workers.webhooks.dispatcher import Dispatcher
from workers.webhooks.job_events import JobEvents
from workers.webhooks.sender import Sender

log = logging.getLogger(__name__)

#: A delivery that has taken this many timeouts is one whose dispatcher has died: another one sends it.
LEASE_TIMEOUTS = 4
#: Published metrics outlive this many missed publications.
GRACE_BEATS = 4


def build_dispatcher(settings: Settings) -> Dispatcher:
    """The dispatcher that ``settings`` describe; raises `InvalidSetting`."""
    redis = control_redis(settings)
    deliveries, endpoints = DeliveryStore(redis, settings.webhook_ttl_s), EndpointStore(redis)
    sender = Sender(deliveries, endpoints, Targets(settings.webhook_private_targets), settings)
    events = JobEvents(redis, deliveries, endpoints, settings.api_public_url or "")
    lease_s = LEASE_TIMEOUTS * settings.webhook_timeout_s
    return Dispatcher(events, deliveries, sender.send, lease_s=lease_s)


def main() -> None:
    """Dispatch until SIGTERM or SIGINT; what is being sent then is finished."""
    with exit_with_reason():
        settings = read_settings()
        dispatcher = build_dispatcher(settings)
    name = f"{PREFIX}{socket.gethostname()}-{os.getpid()}"
    configure_logs(settings, process=name)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    redis = control_redis(settings)

    def publish_metrics() -> None:
        try:
            publish(redis, name, settings.heartbeat_s * GRACE_BEATS)
        except RedisError as error:
            log.warning("metrics not published", extra={"error": type(error).__name__})

    jobs = JobStore(redis, settings)
    PeriodicThread("deadlines", EVERY_S, partial(fail_late_jobs, jobs)).start()
    PeriodicThread("metrics", settings.heartbeat_s, publish_metrics, call_at_start=True).start()
    log.info("webhooks are sent")
    dispatcher.run(stopping)
    dispatcher.close()


if __name__ == "__main__":
    main()
