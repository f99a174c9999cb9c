"""Cursors of the sweep, in Redis: any worker goes on where another one ended."""

from typing import TYPE_CHECKING

from shared import keys

if TYPE_CHECKING:
    from redis import Redis

#: Keys that one sweep reads of a scan.
KEYS = 500


class SweepCursors:
    """Reads long lists a bounded part at a time, over many sweeps."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def get(self, name: str) -> str:
        """Where the last sweep ended; empty at the beginning of a list."""
        return str(self._redis.hget(keys.SWEEP_CURSORS, name) or "")

    def set(self, name: str, cursor: str) -> None:
        """Remember where this sweep ended."""
        self._redis.hset(keys.SWEEP_CURSORS, name, cursor)

    def next_keys(self, pattern: str, server: "Redis | None" = None) -> list[str]:
        """The next keys of Redis, or of another ``server``, that match ``pattern``."""
        scanned = server or self._redis
        cursor, found = scanned.scan(int(self.get(pattern) or 0), match=pattern, count=KEYS)
        self.set(pattern, str(cursor))
        return [key.decode(errors="replace") if isinstance(key, bytes) else str(key) for key in found]

    def next_members(self, sorted_set: str) -> list[str]:
        """The next members of a sorted set."""
        cursor, found = self._redis.zscan(sorted_set, int(self.get(sorted_set) or 0), count=KEYS)
        self.set(sorted_set, str(cursor))
        return [str(member) for member, _ in found]
