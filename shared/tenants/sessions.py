"""Sessions of browsers, which cannot send a key with every request: a cookie that stands for one."""

import hashlib
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from shared import keys

if TYPE_CHECKING:
    from redis import Redis

#: Bytes of a session's token, and of the token that its changes must repeat.
TOKEN_BYTES = 32


class Session(NamedTuple):
    """A login. ``key_sha256`` is of the key it was made with: a session ends with its key."""

    key_id: str
    key_sha256: str
    csrf_token: str


class SessionStore:
    """Sessions in the control Redis, found by the hash of their token: the store alone opens none."""

    def __init__(self, redis: "Redis", ttl_s: int) -> None:
        self._redis, self.ttl_s = redis, ttl_s

    def open(self, key_id: str, key_sha256: str) -> tuple[str, Session]:
        """Begin a session; returns its token, which is stored nowhere, and what is stored."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        session = Session(key_id, key_sha256, secrets.token_urlsafe(TOKEN_BYTES))
        pipe = self._redis.pipeline()
        pipe.hset(_name(token), mapping=cast(dict[Any, Any], session._asdict()))
        pipe.expire(_name(token), self.ttl_s)
        pipe.execute()
        return token, session

    def find(self, token: str) -> Session | None:
        """The session of that token; ``None`` if it has ended."""
        fields = cast(dict[str, str], self._redis.hgetall(_name(token)))
        return Session(**fields) if fields else None

    def close(self, token: str) -> None:
        """End the session."""
        self._redis.delete(_name(token))


def _name(token: str) -> str:
    return keys.session(hashlib.sha256(token.encode(errors="replace")).hexdigest())
