"""Hears of jobs that wait, and fetches their LoRAs before any worker has picked them up."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from shared import keys
from shared.messaging.base_model import read_stored_json
from shared.messaging.messages import Prefetch
from workers.lora.cache.cache import LoraCache

if TYPE_CHECKING:
    from redis import Redis

#: Fetches at once, and hints that may wait: more would fill the cache before the jobs come.
FETCHES, WAITING = 4, 32

log = logging.getLogger(__name__)


def listen(redis: "Redis", cache: LoraCache, worker: str) -> None:
    """Start the thread that follows the hints for ``worker``; one that is missed only costs time."""
    threading.Thread(target=_listen, args=[redis, cache, worker], name="prefetch", daemon=True).start()


def _listen(redis: "Redis", cache: LoraCache, worker: str) -> None:
    pool = ThreadPoolExecutor(FETCHES, thread_name_prefix="prefetch")
    waiting = threading.Semaphore(WAITING)
    while True:
        try:
            pubsub: Any = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            pubsub.subscribe(keys.prefetch(worker))
            while True:
                message = pubsub.get_message(timeout=10.0)
                if message is not None:
                    _fetch(pool, waiting, cache, str(message["data"]))
        except Exception:
            log.exception("prefetch interrupted; following again")


def _fetch(pool: ThreadPoolExecutor, waiting: threading.Semaphore, cache: LoraCache, data: str) -> None:
    try:
        hint = read_stored_json(Prefetch, data)
    except ValidationError:
        log.warning("malformed hint dropped")
        return
    for ref in hint.loras:
        if waiting.acquire(blocking=False):
            pool.submit(cache.prefetch, ref).add_done_callback(lambda _: waiting.release())
