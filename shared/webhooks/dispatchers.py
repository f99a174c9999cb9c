"""Whether a process sends webhooks, and whether one has to."""

from typing import TYPE_CHECKING, Any, NamedTuple

from shared import keys

if TYPE_CHECKING:
    from redis import Redis

#: What the names of these processes begin with, under which they publish their metrics.
PREFIX = "webhooks@"


class DispatcherState(NamedTuple):
    """How many dispatchers run; whether tenants have webhooks, or jobs of theirs; events not expanded yet."""

    dispatchers: int
    has_webhooks: bool
    events_waiting: int

    @property
    def problem(self) -> str | None:
        """Why webhooks are not sent, in a sentence; ``None`` if they are, or there is none to send."""
        if self.dispatchers or not self.has_webhooks:
            return None
        return f"no webhook dispatcher runs (python -m workers.webhooks): {self.events_waiting} events wait"


def read_dispatcher_state(redis: "Redis") -> DispatcherState:
    """The state right now, by the processes' publications."""
    seconds, microseconds = redis.time()
    pipe = redis.pipeline(transaction=False)
    pipe.zrangebyscore(keys.PUBLISHERS, seconds + microseconds / 1e6, "+inf")
    pipe.exists(keys.WEBHOOK_OWNERS, keys.WEBHOOK_TENANTS)
    pipe.xlen(keys.WEBHOOK_EVENTS)
    publishers: Any
    publishers, lists, events = pipe.execute()
    dispatchers = sum(str(name).startswith(PREFIX) for name in publishers)
    return DispatcherState(dispatchers, bool(lists or events), events)
