"""Hears of accepted jobs and begins to fetch their LoRAs before any worker has picked the job up."""

import logging
import threading
from typing import TYPE_CHECKING, Any

from shared import keys
from shared.messages import Prefetch
from workers.lora.cache import LoraCache

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)


def listen(redis: "Redis", cache: LoraCache, models: list[str]) -> None:
    """Start the thread that follows the hints; a hint that is missed only costs time."""
    threading.Thread(target=_listen, args=[redis, cache, models], name="prefetch", daemon=True).start()


def _listen(redis: "Redis", cache: LoraCache, models: list[str]) -> None:
    while True:
        try:
            pubsub: Any = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            pubsub.subscribe(keys.PREFETCH)
            while True:
                message = pubsub.get_message(timeout=10.0)
                if message is not None:
                    _fetch(cache, models, str(message["data"]))
        except Exception:
            log.exception("prefetch interrupted; following again")


def _fetch(cache: LoraCache, models: list[str], data: str) -> None:
    hint = Prefetch.model_validate_json(data)
    if hint.model in models:
        for ref in hint.loras:
            threading.Thread(target=cache.prefetch, args=[ref], daemon=True).start()
