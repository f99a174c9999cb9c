"""Deliveries of webhooks: each is one event of one job for one endpoint, until its receiver has taken it.

`lua/deliveries.lua` makes every change. Times are the control Redis' own, so that dispatchers on hosts with
different clocks agree on what is due.
"""

import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from redis.exceptions import ResponseError

from shared import keys
from shared.errors import InvalidRequest, NotFound
from shared.lua_script import read_lua
from shared.message_base import Message, first_reason, read_stored
from shared.webhooks.endpoint import EVENTS, LEFT_S, Event, is_of_later_version

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

DeliveryStatus = Literal["pending", "delivered", "failed"]
#: What a list keeps in addition to a delivery's time after its end: retries go on for up to four days.
LONGEST_RETRIES_S = 7 * 86_400
#: Deliveries that one replay of all failed ones looks at, and in one call.
REPLAY_LIMIT, REPLAY_BATCH = 10_000, 200
#: A tenant whose keys are damaged is looked at again after so long.
DAMAGED_PAUSE_S = 60.0


class NewDelivery(NamedTuple):
    """What a dispatcher makes of an event, for one endpoint; the payload never changes."""

    endpoint: str
    message_id: str
    event: Event
    job: str
    url: str  # of a job's own webhook; empty: the endpoint's at that time
    payload: str


class Delivery(Message):
    """A delivery as it stands; ``message_id`` is what receivers tell repeats by."""

    endpoint: str
    message_id: str
    event: Event
    job: str
    url: str
    payload: str
    status: DeliveryStatus
    attempts: int  # requests that were answered or failed
    tries: int  # of these, since it was made or replayed
    created_at: float
    next_attempt_at: float | None = None
    last_attempt_at: float | None = None
    response_status: int | None = None  # of the last attempt, if it was answered
    error: str = ""  # of the last attempt
    token: str = ""  # of the dispatcher that sends it


class Settlement(NamedTuple):
    """How an attempt ended. ``pause_s`` is how long a delivery that is still pending rests."""

    status: DeliveryStatus
    pause_s: float = 0.0
    response_status: int | None = None
    error: str = ""
    was_sent: bool = True  # a request was made, or could not be made


class DeliveryStore:
    """Reads and changes the deliveries of all tenants."""

    def __init__(self, redis: "Redis", ttl_s: int, now: Callable[[], float] | None = None) -> None:
        """Deliveries that have ended are kept for ``ttl_s``; ``now`` is by default the server's clock."""
        self.redis = redis
        self.now = now or (lambda: server_time(redis))
        self._ttl_s = ttl_s
        self._script = redis.register_script(read_lua("shared.webhooks", "deliveries"))

    # --- dispatchers -----------------------------------------------------------------------------

    def add(self, tenant: str, entry_id: str, deliveries: Sequence[NewDelivery]) -> int:
        """Turn the event at ``entry_id`` into deliveries, once; returns how many were made now."""
        flat: list[str] = []
        for one in deliveries:
            flat += [keys.webhook_deliveries(tenant, one.endpoint), *one]
        added: int = self._run("add", tenant, self.now(), entry_id, self._ttl_s + LONGEST_RETRIES_S, *flat)
        return added

    def take(self, excluded: Collection[str], lease_s: float) -> tuple[str, Delivery] | None:
        """The tenant and the delivery that is due for longest, of tenants that are not ``excluded``.

        It is due again after ``lease_s`` unless it is settled before. One that cannot be read has failed; of
        an event that only a later version knows it is left to that for `LEFT_S`. A tenant whose keys are
        damaged is passed over for `DAMAGED_PAUSE_S`.
        """
        now = self.now()
        waiting: Any = self.redis.zrangebyscore(keys.WEBHOOK_TENANTS, "-inf", now)
        for tenant in waiting:
            if tenant not in excluded:
                try:
                    delivery = self._take_of(tenant, now, lease_s)
                except ResponseError as error:
                    if not is_damage(error):
                        raise
                    log.error("webhooks of a tenant skipped", extra={"tenant": tenant, "error": str(error)})
                    self.redis.zadd(keys.WEBHOOK_TENANTS, {tenant: now + DAMAGED_PAUSE_S}, xx=True)
                    continue
                if delivery is not None:
                    return tenant, delivery
        return None

    def _take_of(self, tenant: str, now: float, lease_s: float) -> Delivery | None:
        while found := self._run("take", tenant, now, lease_s, secrets.token_hex(8)):
            member, flat = found
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            try:
                return _read(fields)
            except ValueError as error:  # damaged, or of a later version, which may replay it
                if not _is_left(fields, now):
                    self._fail_unread(tenant, member, error)
        return None

    def _fail_unread(self, tenant: str, member: str, error: ValueError) -> None:
        reason = first_reason(error)
        log.error("webhook cannot be read", extra={"tenant": tenant, "delivery": member, "error": reason})
        self._run(
            "fail_unread", tenant, self.now(), member, self._ttl_s, f"its record cannot be read: {reason}"
        )

    def settle(self, tenant: str, delivery: Delivery, end: Settlement) -> bool:
        """Note how an attempt ended; returns False if its lease has passed to another dispatcher."""
        now = self.now()
        fields: dict[str, Any] = {"error": end.error, "response_status": end.response_status or ""}
        if end.was_sent:
            fields["last_attempt_at"] = now
        member = _member(delivery.endpoint, delivery.message_id)
        flat = [part for pair in fields.items() for part in pair]
        counts = int(end.was_sent)
        words = [member, delivery.token, end.status, end.pause_s, self._ttl_s, counts, *flat]
        return bool(self._run("settle", tenant, now, *words) == "settled")

    def next_due(self) -> float | None:
        """When the next delivery of any tenant is due."""
        first: Any = self.redis.zrange(keys.WEBHOOK_TENANTS, 0, 0, withscores=True)
        return float(first[0][1]) if first else None

    # --- the web -----------------------------------------------------------------------------------

    def page(
        self, tenant: str, endpoint: str, *, limit: int, cursor: str | None = None
    ) -> tuple[list[Delivery], str | None]:
        """A page of the deliveries to an endpoint, newest first, and the next cursor.

        A cursor is the message id of the last delivery of a page; raises `InvalidRequest` for another text.
        """
        index = keys.webhook_deliveries(tenant, endpoint)
        start = 0
        if cursor is not None:
            rank: Any = self.redis.zrevrank(index, cursor)
            if rank is None:
                raise InvalidRequest("it is not the next_cursor of a page", field="cursor")
            start = rank + 1
        ids: Any = self.redis.zrevrange(index, start, start + limit)
        found = self._read_all(tenant, endpoint, ids[:limit])
        return found, ids[limit - 1] if len(ids) > limit else None

    def of_job(self, tenant: str, endpoint: str, job: str) -> list[Delivery]:
        """The deliveries of one job's events to an endpoint, newest first: one of each event at most."""
        found = self._read_all(tenant, endpoint, [message_id_of(job, event) for event in EVENTS])
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def replay(self, tenant: str, endpoint: str, message_ids: Sequence[str] | None) -> int:
        """Have deliveries sent again now, with their ids; ``None``: all that have failed. Returns how many.

        Raises `NotFound`, before any is sent, for an id that is no delivery of the endpoint.
        """
        if message_ids is None:
            failed = self._failed(tenant, endpoint)
            batches = [failed[i : i + REPLAY_BATCH] for i in range(0, len(failed), REPLAY_BATCH)]
            return sum(self._replay(tenant, endpoint, batch) for batch in batches)
        known: Any = self.redis.zmscore(keys.webhook_deliveries(tenant, endpoint), list(message_ids))
        found = {one.message_id for one in self._read_all(tenant, endpoint, message_ids)}
        for message_id, score in zip(message_ids, known, strict=True):
            if score is None or message_id not in found:
                raise NotFound(f"there is no delivery {message_id[:100]!r}")
        return self._replay(tenant, endpoint, message_ids)

    def _failed(self, tenant: str, endpoint: str) -> list[str]:
        failed: list[str] = []
        index = keys.webhook_deliveries(tenant, endpoint)
        for start in range(0, REPLAY_LIMIT, REPLAY_BATCH):
            ids: Any = self.redis.zrevrange(index, start, start + REPLAY_BATCH - 1)
            deliveries = self._read_all(tenant, endpoint, ids)
            failed += [one.message_id for one in deliveries if one.status == "failed"]
            if len(ids) < REPLAY_BATCH:
                break
        return failed

    def _replay(self, tenant: str, endpoint: str, message_ids: Sequence[str]) -> int:
        members = [_member(endpoint, message_id) for message_id in message_ids]
        replayed: int = self._run("replay", tenant, self.now(), *members)
        return replayed

    def _read_all(self, tenant: str, endpoint: str, message_ids: Sequence[str]) -> list[Delivery]:
        """Those deliveries that have not expired and can be read."""
        pipe = self.redis.pipeline(transaction=False)
        for message_id in message_ids:
            pipe.hgetall(keys.webhook_delivery(tenant, endpoint, message_id))
        found = []
        for message_id, fields in zip(message_ids, pipe.execute(), strict=True):
            try:
                found += [_read(fields)] if fields else []
            except ValueError as error:
                extra = {"tenant": tenant, "webhook_id": message_id, "error": first_reason(error)}
                log.warning("webhook left out of a list", extra=extra)
        return found

    def _run(self, verb: str, tenant: str, now: float, *words: Any) -> Any:
        names = [keys.WEBHOOK_EVENTS, keys.WEBHOOK_TENANTS, keys.webhook_due(tenant)]
        prefix = keys.webhook_delivery(tenant, "", "").removesuffix(":")
        return self._script(keys=names, args=[verb, tenant, now, prefix, *words])


def message_id_of(job: str, event: Event) -> str:
    """Names an event of a job: the same in every delivery, retry and replay of it."""
    return f"msg_{job}_{event.removeprefix('job.')}"


def server_time(redis: "Redis") -> float:
    """Seconds since the epoch by the server's clock."""
    seconds, microseconds = redis.time()
    return float(seconds) + float(microseconds) / 1e6


def is_damage(error: ResponseError) -> bool:
    """Whether something else lies in place of a key; other errors are of the server, whatever is asked."""
    return "WRONGTYPE" in str(error)


def _member(endpoint: str, message_id: str) -> str:
    return f"{endpoint}:{message_id}"


def _is_left(fields: dict[str, str], now: float) -> bool:
    """Whether a dispatcher of a later version may still send a delivery, once its lease has ended."""
    try:
        is_young = now - float(fields.get("created_at", "")) < LEFT_S
    except ValueError:
        return False
    return is_young and is_of_later_version(fields.get("event", ""))


def _read(fields: dict[str, str]) -> Delivery:
    present = {
        name: value for name, value in fields.items() if value != "" or name in ("url", "error", "token")
    }
    return read_stored(Delivery, present)
