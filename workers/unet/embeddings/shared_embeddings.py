"""Embeddings at the residual server, where every UNet worker finds them: bounded in bytes, and expiring."""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError, RedisError, TimeoutError
from torch import Tensor

from shared.lua_script import read_lua
from shared.redis_clients import without_retries
from shared.settings import Settings
from workers.transport.keys import EMBEDDING_INDEX, EMBEDDING_SIZES, embedding_key
from workers.transport.wire import InvalidFrame
from workers.unet.embeddings.frames import pack_texts, unpack_texts

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: A server that did not answer is not asked again for so long: encoding takes less than waiting for it.
AWAY_S = 10.0


class SharedEmbeddings:
    """Tensors by the names of `embeddings_key`; whatever goes wrong there is as if they were not stored."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        """``redis`` is a client of the primary residual server."""
        client = without_retries(redis)
        self._ttl_s, self._bound_bytes = settings.embedding_ttl_s, settings.embedding_bytes
        self._get_script, self._put_script = (
            client.register_script(read_lua("workers.unet.embeddings", name)) for name in ("get", "put")
        )
        self._away_until = 0.0

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors, in the host's memory; ``None`` if they are not there."""
        if not self.is_available:
            return None
        try:
            keys = [embedding_key(key), EMBEDDING_INDEX, EMBEDDING_SIZES]
            frame: Any = self._get_script(keys=keys, args=[key, self._ttl_s])
            return None if frame is None else unpack_texts(frame)
        except InvalidFrame as error:
            log.error("malformed embeddings ignored", extra={"error": str(error)})
        except RedisError as error:
            self._note(error)
        return None

    def put(self, key: str, texts: Mapping[str, Tensor]) -> None:
        """Store tensors of the host's memory; those that were not used for longest make room."""
        if not self.is_available:
            return
        try:
            self._put_script(
                keys=[embedding_key(key), EMBEDDING_INDEX, EMBEDDING_SIZES],
                args=[key, self._ttl_s, pack_texts(texts), self._bound_bytes, embedding_key("")],
            )
        except RedisError as error:
            self._note(error)

    @property
    def is_available(self) -> bool:
        """Whether anything can be stored and found now."""
        return self._bound_bytes > 0 and time.monotonic() >= self._away_until

    def _note(self, error: RedisError) -> None:
        log.warning("embeddings not shared", extra={"error": str(error)})
        if isinstance(error, ConnectionError | TimeoutError):
            self._away_until = time.monotonic() + AWAY_S
