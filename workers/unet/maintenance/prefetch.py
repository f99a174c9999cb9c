"""Follows prefetch hints: fetches LoRAs of waiting jobs into the disk cache before a worker takes a job."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pydantic import ValidationError

from shared import keys
from shared.message_base import read_stored_json
from shared.messaging.messages import PrefetchHint
from shared.periodic_thread import PeriodicThread
from workers.lora.cache.cache import LoraCache

if TYPE_CHECKING:
    from redis import Redis

#: Concurrent fetches, and fetches that may wait: more would evict LoRAs before their jobs run.
FETCHES, WAITING = 4, 32
#: The longest pause between attempts to subscribe while Redis is down.
MAX_BACKOFF_S = 5.0

log = logging.getLogger(__name__)


def subscribe_to_hints(redis: "Redis", cache: LoraCache, worker: str) -> None:
    """Start the thread that follows the hints for ``worker``. A lost hint only costs time."""
    pool = ThreadPoolExecutor(FETCHES, thread_name_prefix="prefetch")
    waiting = threading.Semaphore(WAITING)

    def follow() -> None:
        """Fetch the LoRAs of hints until the connection breaks; the next call subscribes again."""
        with redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(keys.prefetch(worker))
            while True:
                message = pubsub.get_message(timeout=10.0)
                if message is not None:
                    _fetch(pool, waiting, cache, str(message["data"]))

    PeriodicThread("prefetch", 0, follow, call_at_start=True, max_backoff_s=MAX_BACKOFF_S).start()


def _fetch(pool: ThreadPoolExecutor, waiting: threading.Semaphore, cache: LoraCache, data: str) -> None:
    try:
        hint = read_stored_json(PrefetchHint, data)
    except ValidationError:
        log.warning("malformed hint dropped")
        return
    for ref in hint.loras:
        if waiting.acquire(blocking=False):
            pool.submit(cache.prefetch, ref).add_done_callback(lambda _: waiting.release())
