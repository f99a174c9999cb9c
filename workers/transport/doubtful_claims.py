"""Claims that keep a job waiting although nobody computes or answers the part any more: they are given up."""

from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import RedisError

from shared.lua_script import read_lua
from workers.transport.keys import claims_key, step_token_key
from workers.transport.protocol import StepRequest
from workers.transport.redis_client.resp import Command

if TYPE_CHECKING:
    from redis import Redis

#: So many are remembered; each is given up with the next call that reaches the server.
MAX_CLAIMS = 1024


class _Claim(NamedTuple):
    job_id: str
    position: int  # of the ControlNet in the job
    text: str  # see `claims_key`


class DoubtfulClaims:
    """Claims of one worker whose calls have failed: the server may have made them, and its lease keeps them.

    Safe to use from several threads.
    """

    def __init__(self, redis: "Redis") -> None:
        self._claims: deque[_Claim] = deque(maxlen=MAX_CLAIMS)
        self._script = redis.register_script(read_lua("workers.transport", "give_up_claim"))

    def add(self, job_id: str, position: int, claim: str) -> None:
        """The call of a claim has failed."""
        self._claims.append(_Claim(job_id, position, claim))

    def give_up(self, redis: "Redis") -> None:
        """Give all of them up; called before the lease is renewed. Raises `redis.RedisError`."""
        for _ in range(len(self._claims)):
            try:
                claim = self._claims.popleft()
            except IndexError:  # another thread has taken it
                return
            try:
                self._script(keys=[claims_key(claim.job_id)], args=[claim.position, claim.text], client=redis)
            except RedisError:
                self._claims.append(claim)
                raise


def unclaim_command(request: StepRequest, positions: Iterable[int]) -> Command:
    """Gives up claims on parts of a step whose responses may be lost, if its request is the current one."""
    keys = [step_token_key(request.job_id).encode(), claims_key(request.job_id).encode()]
    args = [request.step_token.encode(), *(b"%d" % position for position in sorted(positions))]
    return (b"EVAL", _unclaim_script(), b"2", *keys, *args)


@cache
def _unclaim_script() -> bytes:
    return read_lua("workers.transport", "unclaim").encode()
