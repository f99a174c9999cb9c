"""Webhook endpoints of tenants, each a field of its tenant's hash in the control Redis."""

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from shared import keys
from shared.errors import Conflict, NotFound
from shared.message_base import read_all, read_stored_json
from shared.webhooks.endpoint import DEFAULT, EVENTS, Endpoint, Event, SigningSecret, new_secret

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

#: Endpoints of a tenant: every job of it has an event for each.
MAX_ENDPOINTS = 16


class EndpointStore:
    """Reads and changes the endpoints of tenants. Nothing of another tenant's is found."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def all(self, tenant: str) -> list[Endpoint]:
        """The endpoints of a tenant, oldest first, without the one of single jobs."""
        stored: Any = self._redis.hvals(keys.webhooks(tenant))
        return sorted(read_all(Endpoint, stored), key=lambda one: (one.created_at, one.id))

    def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        """One endpoint; raises `NotFound`."""
        return _read(self._redis.hget(keys.webhooks(tenant), endpoint_id), endpoint_id)

    def default(self, tenant: str, now: float) -> Endpoint:
        """The endpoint whose secrets sign the webhooks of single jobs; made when it is first asked for.

        Raises `NotFound` for a tenant that was deleted.
        """
        key = keys.webhook_default(tenant)
        stored: Any = self._redis.hget(key, DEFAULT)
        if stored is None:
            if self._redis.sismember(keys.TENANTS_DELETED, tenant):
                raise NotFound(f"tenant {tenant!r} was deleted")
            self._redis.hsetnx(key, DEFAULT, _new(DEFAULT, "", EVENTS, "", now).model_dump_json())
            stored = self._redis.hget(key, DEFAULT)
        return _read(stored, DEFAULT)

    def create(
        self, tenant: str, url: str, events: Sequence[Event], *, description: str, now: float
    ) -> Endpoint:
        """Store a new endpoint with a secret of its own; raises `Conflict` for one too many."""
        endpoint = _new(f"wh_{secrets.token_hex(8)}", url, events, description, now)
        key = keys.webhooks(tenant)

        def add(pipe: "Pipeline") -> Endpoint:
            count: Any = pipe.hlen(key)
            if count >= MAX_ENDPOINTS:
                raise Conflict(f"a tenant has at most {MAX_ENDPOINTS} webhooks: delete one first")
            pipe.multi()
            pipe.hset(key, endpoint.id, endpoint.model_dump_json())
            pipe.sadd(keys.WEBHOOK_OWNERS, tenant)
            return endpoint

        return self._in_transaction(add, key)

    def update(self, tenant: str, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
        """Replace an endpoint by what ``change`` makes of it; raises `NotFound`."""
        key = keys.webhook_default(tenant) if endpoint_id == DEFAULT else keys.webhooks(tenant)

        def rewrite(pipe: "Pipeline") -> Endpoint:
            changed = change(_read(pipe.hget(key, endpoint_id), endpoint_id))
            pipe.multi()
            pipe.hset(key, endpoint_id, changed.model_dump_json())
            return changed

        return self._in_transaction(rewrite, key)

    def delete(self, tenant: str, endpoint_id: str) -> None:
        """Remove an endpoint and the list of its deliveries, none of which is sent any more."""
        key = keys.webhooks(tenant)

        def remove(pipe: "Pipeline") -> None:
            if not pipe.hexists(key, endpoint_id):
                raise _missing(endpoint_id)
            is_last = pipe.hlen(key) == 1
            pipe.multi()
            pipe.hdel(key, endpoint_id)
            pipe.delete(keys.webhook_deliveries(tenant, endpoint_id))
            if is_last:
                pipe.srem(keys.WEBHOOK_OWNERS, tenant)

        self._redis.transaction(remove, key)

    def _in_transaction(self, write: "Callable[[Pipeline], Endpoint]", key: str) -> Endpoint:
        """Run ``write`` again until nobody else has changed ``key`` meanwhile."""
        written: Any = self._redis.transaction(write, key, value_from_callable=True)  # type: ignore[arg-type]
        assert isinstance(written, Endpoint)
        return written


def _new(endpoint_id: str, url: str, events: Sequence[Event], description: str, now: float) -> Endpoint:
    return Endpoint(
        id=endpoint_id,
        url=url,
        events=list(events),
        description=description,
        created_at=now,
        secrets=[SigningSecret(value=new_secret())],
    )


def _read(stored: Any, endpoint_id: str) -> Endpoint:
    try:
        return read_stored_json(Endpoint, stored or "")
    except ValueError:  # missing, or damaged
        raise _missing(endpoint_id) from None


def _missing(endpoint_id: str) -> NotFound:
    return NotFound(f"there is no webhook {endpoint_id!r}")
