"""Which workers would take steps of which ControlNets now, by platform; see `lua/controlnet_servers.lua`.

Whoever asks whether another worker could serve a ControlNet reads one element of one sorted set, however many
workers there are.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from shared import keys
from shared.lua_script import read_lua

if TYPE_CHECKING:
    from redis import Redis


class Served(NamedTuple):
    """A ControlNet, and the digest of the platform that shall compute it; empty: any may."""

    controlnet: str
    platform: str = ""


class ControlNetServers:
    """Asks the registry. Every method is one round trip."""

    def __init__(self, redis: "Redis") -> None:
        self._script = redis.register_script(
            read_lua("shared", "call") + read_lua("shared.registry", "controlnet_servers")
        )

    def are_served(self, wanted: Sequence[Served]) -> list[bool]:
        """Whether some worker would take a step now, of each of ``wanted``."""
        if not wanted:
            return []
        sets = [keys.controlnet_servers(one.controlnet, one.platform) for one in wanted]
        found: Any = self._script(keys=sets, args=["are_served"])
        return [bool(one) for one in found]

    def register(
        self, worker: str, serves: Collection[Served], left: Collection[Served], ttl_s: float
    ) -> None:
        """Say for ``ttl_s`` seconds that ``worker`` takes steps of ``serves``, and of ``left`` no more."""
        sets = [keys.controlnet_servers(one.controlnet, one.platform) for one in (*serves, *left)]
        self._script(keys=sets, args=["register", worker, ttl_s, len(serves)])


class ServerRegistration:
    """Registers one worker for the ControlNets that it serves; not for use by two threads at once."""

    def __init__(
        self,
        redis: "Redis",
        controlnets: Callable[[], Collection[str]],
        platform: Callable[[], str],
        ttl_s: float,
    ) -> None:
        """``controlnets``: those it would serve now; ``platform``: digest of its own, empty without one.

        A registration lasts ``ttl_s`` seconds.
        """
        self._servers = ControlNetServers(redis)
        self._controlnets, self._platform, self._ttl_s = controlnets, platform, ttl_s
        self._registered: set[Served] = set()  # perhaps: the last call may have failed

    def controlnets(self) -> list[str]:
        """Those that it would serve now."""
        return sorted(self._controlnets())

    def renew(self, worker: str) -> None:
        """Register what it serves now, and nothing else; raises `redis.RedisError`."""
        platforms = {"", self._platform()}
        self._register(worker, {Served(name, one) for name in self._controlnets() for one in platforms})

    def remove(self, worker: str) -> None:
        """It serves nothing now; raises `redis.RedisError`."""
        self._register(worker, set())

    def _register(self, worker: str, serves: set[Served]) -> None:
        left = self._registered - serves
        if not serves and not left:
            return
        self._registered |= serves
        self._servers.register(worker, sorted(serves), sorted(left), self._ttl_s)
        self._registered = serves
