"""Checks every message that a worker takes from Redis; malformed ones are dropped with a log record.

kombu and Celery trust what they find: text that is no JSON, or a message without its headers, ends the
worker, or occupies its only slot for ever.
"""

import base64
import logging
from collections.abc import Callable, Mapping
from queue import Empty
from typing import Annotated, Any

from celery import Task
from celery.worker import request
from kombu.transport import TRANSPORT_ALIASES, redis
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from shared.message_base import Message

log = logging.getLogger(__name__)

# Typed only in part.
_redis: Any = redis
_request: Any = request

#: How the queue ends by which remote control commands come.
CONTROL = ".celery.pidbox"
#: Connections and sockets fail in these ways, and Celery connects again. kombu adds `KeyError`: that is also
#: how a message without a field fails, and it would come again with every new connection.
LOST = tuple(kind for kind in _redis.Transport.connection_errors if kind is not KeyError)
_NOT_OURS = (Empty, *LOST)


def use_checked_transport() -> None:
    """Have all connections of this process take messages by `Transport`; called before the first is made."""
    TRANSPORT_ALIASES.update(
        dict.fromkeys(("redis", "rediss"), "workers.runtime.celery_worker.broker:Transport")
    )


def order_queues(turns: Callable[[], object]) -> None:
    """Have each channel of this process that is opened from now on read its queues in an order of its own.

    Not as kombu's option ``queue_order_strategy``, whose value it puts into the statistics of a worker:
    `inspect stats` could not send them.
    """
    Channel.queue_order_strategy = turns


class MalformedMessage(Exception):
    """A message that none of our own processes has sent."""


class _DeliveryInfo(BaseModel):
    exchange: str
    routing_key: str


class _Properties(BaseModel):
    delivery_tag: str = Field(min_length=1, max_length=255)
    delivery_info: _DeliveryInfo


def _check_task(name: str) -> str:
    if name.startswith("celery."):
        raise ValueError("Celery's own tasks are not for the wire")
    return name


class _Headers(BaseModel):
    id: str | None = Field(None, max_length=255)
    task: Annotated[str, Field(max_length=255), AfterValidator(_check_task)] | None = None
    retries: int | None = Field(None, ge=0, strict=True)
    compression: None = None  # nobody here compresses: what does may grow a thousandfold


class Envelope(BaseModel):
    """What kombu and Celery read of a message without asking whether it is there."""

    body: str
    headers: _Headers
    properties: _Properties


class Command(BaseModel):
    """The body of a remote control command; anything else would have Celery open its channel anew."""

    method: str
    arguments: dict[str, Any] | None = None
    destination: list[str] | None = None
    pattern: str | None = None
    matcher: str | None = None
    reply_to: _DeliveryInfo | None = None
    ticket: str | None = None


class QoS(_redis.QoS):
    """The messages that were taken and not yet acknowledged."""

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back into its queue; one that cannot be read stands in the way of no other."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except LOST:
            raise
        except Exception as error:
            _log_dropped(error, "unacked")
            self._remove_from_indices(tag).execute()


class Channel(_redis.Channel):
    """Takes from lists and channels of Redis."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except _NOT_OURS:
            raise
        except Exception as error:
            _log_dropped(error, "a queue of this worker")
            return True

    def _receive_one(self, c: Any) -> Any:
        try:
            return super()._receive_one(c)
        except _NOT_OURS:
            raise
        except Exception as error:
            _log_dropped(error, "a channel of this worker")
            raise Empty from None


class Transport(_redis.Transport):
    """kombu's Redis transport that survives what it finds in Redis."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str | None) -> None:
        try:
            Envelope.model_validate(message)
            if str(queue).endswith(CONTROL):
                Command.model_validate_json(base64.b64decode(message["body"]))
            super()._deliver(message, queue)
        except LOST:
            raise
        except Exception as error:
            _log_dropped(error, str(queue))
            self._forget(message)

    def _forget(self, message: Any) -> None:
        """Free the slot that the message holds, if it came so far."""
        tag = message["properties"]["delivery_tag"] if _has_tag(message) else None
        for channel in self.channels or ():
            if tag is not None and tag in (channel.qos._delivered or ()):
                channel.basic_reject(tag, requeue=False)


class CheckedRequest(_request.Request):
    """A task's message, read before a thread of the pool gets it: there an error would hold its slot."""

    def __init__(self, message: Any, **options: Any) -> None:
        """Raises `MalformedMessage`."""
        super().__init__(message, **options)
        args, kwargs, embedded = self._payload
        if not isinstance(embedded, Mapping | None) or any((embedded or {}).values()):
            raise MalformedMessage("it has callbacks")
        if not isinstance(args, list) or len(args) != 1 or kwargs != {}:
            raise MalformedMessage("it has other arguments than its task takes")
        self.task.takes.model_validate(args[0])
        self.time_limits = (None, None)  # threads have none


class CheckedTask(Task[Any, Any]):
    """A task that takes one `Message` as its argument; ``takes`` is its class."""

    Request = "workers.runtime.celery_worker.broker:CheckedRequest"
    abstract = True
    takes: type[Message]


def _has_tag(message: Any) -> bool:
    try:
        Envelope.model_validate(message)
    except ValidationError:
        return False
    return True


def _log_dropped(error: Exception, where: str) -> None:
    why = str(error)
    if isinstance(error, ValidationError):  # without the values: they are not ours to show
        why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    log.error("malformed message dropped", extra={"queue": where, "error": f"{type(error).__name__}: {why}"})
