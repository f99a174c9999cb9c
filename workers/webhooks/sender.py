"""Sends one delivery: finds its endpoint, checks the host, signs, posts, and notes how it ended."""

import logging
import random
import ssl
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

from shared import keys
from shared.errors import NotFound
from shared.metrics import WEBHOOK_DELIVERIES
from shared.settings import Settings
from shared.webhooks.deliveries import Delivery, DeliveryStore, Settlement
from shared.webhooks.endpoint import DEFAULT, Endpoint
from shared.webhooks.endpoint_store import EndpointStore
from shared.webhooks.targets import TargetRefused, Targets
from workers.webhooks.bounded_calls import BoundedCalls
from workers.webhooks.post import Answer, post
from workers.webhooks.retries import next_pause
from workers.webhooks.signatures import sign

log = logging.getLogger(__name__)

GONE = 410


class Sender:
    """Makes one attempt at a delivery of any tenant."""

    def __init__(
        self,
        deliveries: DeliveryStore,
        endpoints: EndpointStore,
        targets: Targets,
        settings: Settings,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._deliveries = deliveries
        self._endpoints = endpoints
        self._targets = targets
        self._settings = settings
        self._random = random
        self._tls = ssl.create_default_context()
        self._lookups = BoundedCalls()
        self._user_agent = f"swiftdiffusion/{version('swiftdiffusion')}"

    def send(self, tenant: str, delivery: Delivery) -> None:
        """Send the delivery once and settle it."""
        result, end = self._attempt(tenant, delivery)
        fields = {"tenant": tenant, "webhook_id": delivery.message_id, "endpoint": delivery.endpoint}
        if self._deliveries.settle(tenant, delivery, end):
            WEBHOOK_DELIVERIES.labels(result).inc()
            log.info("webhook sent", extra={**fields, "result": result, "status": end.response_status})
        else:
            log.warning("webhook sent by two dispatchers", extra=fields)

    def _attempt(self, tenant: str, delivery: Delivery) -> tuple[str, Settlement]:
        """What became of the delivery, as its metric says it, and as its record does."""
        try:
            endpoint = self._find_endpoint(tenant, delivery)
        except NotFound as error:
            return "dropped", Settlement("failed", error=str(error), was_sent=False)
        answer = self._post(tenant, endpoint, delivery)
        failed = Settlement("failed", response_status=answer.status, error=answer.error)
        if answer.status is not None and 200 <= answer.status < 300:
            return "delivered", failed._replace(status="delivered")
        if answer.status == GONE:
            # First, so that no death of this process sends another event there.
            self._disable(tenant, delivery)
            return "gone", failed
        pause_s = next_pause(delivery.tries + 1, answer.retry_after_s, self._random)
        if pause_s is None:
            return "failed", failed
        return "retried", failed._replace(status="pending", pause_s=pause_s)

    def _find_endpoint(self, tenant: str, delivery: Delivery) -> Endpoint:
        """Whose secrets sign the delivery; raises `NotFound`, with the reason, if it is not to be sent."""
        if delivery.endpoint == DEFAULT:
            if self._deliveries.redis.exists(keys.job_webhook_gone(delivery.job)):
                raise NotFound("the receiver has answered 410 to another event of the job")
            return self._endpoints.default(tenant, self._deliveries.now())
        endpoint = self._endpoints.get(tenant, delivery.endpoint)
        if endpoint.disabled_at is not None:
            raise NotFound("the webhook is disabled")
        return endpoint

    def _post(self, tenant: str, endpoint: Endpoint, delivery: Delivery) -> Answer:
        timeout_s = self._settings.webhook_timeout_s
        deadline = time.monotonic() + timeout_s  # of looking the name up, too
        try:
            target = self._targets.read(delivery.url or endpoint.url)
            addresses = self._lookups.call(tenant, partial(self._targets.find_addresses, target), deadline)
        except TargetRefused as error:
            return Answer(error=str(error))
        except TimeoutError:
            return Answer(error=f"the name of its host was not resolved within {timeout_s:g} s")
        except ValueError as error:  # the settings have changed since it was accepted
            return Answer(error=f"its URL {error}")
        now = self._deliveries.now()
        headers = {
            **sign(endpoint.signing_secrets(now), delivery.message_id, now, delivery.payload),
            "Content-Type": "application/json",
            "User-Agent": self._user_agent,
        }
        body = delivery.payload.encode()
        return post(target, addresses, body, headers, timeout_s=timeout_s, deadline=deadline, tls=self._tls)

    def _disable(self, tenant: str, delivery: Delivery) -> None:
        if delivery.endpoint == DEFAULT:
            key = keys.job_webhook_gone(delivery.job)
            self._deliveries.redis.set(key, 1, ex=self._settings.job_ttl_s)
            return
        now = self._deliveries.now()
        try:
            self._endpoints.update(tenant, delivery.endpoint, lambda one: one.disabled("gone", now))
        except NotFound:  # it has just been deleted
            return
        log.warning("webhook disabled", extra={"tenant": tenant, "endpoint": delivery.endpoint})
