"""Sessions of browsers, which cannot send a key with every request: a cookie that stands for one."""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from shared import keys

if TYPE_CHECKING:
    from redis import Redis

#: Bytes of a session's token, and of the token that its changes must repeat.
TOKEN_BYTES = 32
#: Of one key: a further login ends the oldest. The server they are in evicts nothing.
MAX_SESSIONS = 20


class Session(NamedTuple):
    """A login. ``key_sha256`` is of the key it was made with: a session ends with its key."""

    key_id: str
    key_sha256: str
    csrf_token: str


class SessionStore:
    """Sessions in the control Redis, found by the hash of their token: the store alone opens none."""

    def __init__(self, redis: "Redis", ttl_s: int, now: Callable[[], float] = time.time) -> None:
        self._redis, self.ttl_s, self._now = redis, ttl_s, now

    def open(self, key_id: str, key_sha256: str) -> tuple[str, Session]:
        """Begin a session; returns its token, which is stored nowhere, and what is stored.

        Of a key's sessions the last `MAX_SESSIONS` stay.
        """
        token = secrets.token_urlsafe(TOKEN_BYTES)
        session = Session(key_id, key_sha256, secrets.token_urlsafe(TOKEN_BYTES))
        name, of_key = _name(token), keys.key_sessions(key_id)
        pipe = self._redis.pipeline()
        pipe.hset(name, mapping=cast(dict[Any, Any], session._asdict()))
        pipe.expire(name, self.ttl_s)
        pipe.zadd(of_key, {name: self._now()})
        pipe.expire(of_key, self.ttl_s)
        pipe.zrange(of_key, 0, -MAX_SESSIONS - 1)
        self._end(key_id, cast(list[str], pipe.execute()[-1]))
        return token, session

    def find(self, token: str) -> Session | None:
        """The session of that token; ``None`` if it has ended."""
        fields = cast(dict[str, str], self._redis.hgetall(_name(token)))
        return Session(**fields) if fields else None

    def close(self, token: str) -> None:
        """End the session."""
        session = self.find(token)
        if session is not None:
            self._end(session.key_id, [_name(token)])

    def _end(self, key_id: str, names: Sequence[str]) -> None:
        if names:
            pipe = self._redis.pipeline()
            pipe.delete(*names)
            pipe.zrem(keys.key_sessions(key_id), *names)
            pipe.execute()


def _name(token: str) -> str:
    return keys.session(hashlib.sha256(token.encode(errors="replace")).hexdigest())
