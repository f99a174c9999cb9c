"""Hears of jobs that wait, and fetches their LoRAs before any worker has picked them up."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pydantic import ValidationError

from shared import keys
from shared.message_base import read_stored_json
from shared.messaging.messages import Prefetch
from shared.periodic_thread import PeriodicThread
from workers.lora.cache.cache import LoraCache

if TYPE_CHECKING:
    from redis import Redis

#: Fetches at once, and hints that may wait: more would fill the cache before the jobs come.
FETCHES, WAITING = 4, 32
#: The longest pause between two tries to subscribe while Redis is away.
MAX_BACKOFF_S = 5.0

log = logging.getLogger(__name__)


def listen(redis: "Redis", cache: LoraCache, worker: str) -> None:
    """Start the thread that follows the hints for ``worker``; one that is missed only costs time."""
    pool = ThreadPoolExecutor(FETCHES, thread_name_prefix="prefetch")
    waiting = threading.Semaphore(WAITING)

    def follow() -> None:
        """Fetch what is hinted at until the connection breaks; the next call subscribes again."""
        with redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(keys.prefetch(worker))
            while True:
                message = pubsub.get_message(timeout=10.0)
                if message is not None:
                    _fetch(pool, waiting, cache, str(message["data"]))

    PeriodicThread("prefetch", 0, follow, call_at_start=True, max_backoff_s=MAX_BACKOFF_S).start()


def _fetch(pool: ThreadPoolExecutor, waiting: threading.Semaphore, cache: LoraCache, data: str) -> None:
    try:
        hint = read_stored_json(Prefetch, data)
    except ValidationError:
        log.warning("malformed hint dropped")
        return
    for ref in hint.loras:
        if waiting.acquire(blocking=False):
            pool.submit(cache.prefetch, ref).add_done_callback(lambda _: waiting.release())
