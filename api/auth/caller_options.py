"""Options that a caller of a compatible API has set for its later calls."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from api.auth.principal import Principal
from shared import keys

if TYPE_CHECKING:
    from redis import Redis


class CallerOptions:
    """Options by API key: nobody else's calls are changed by them. They are kept while they are used.

    With authentication off everybody is one caller.
    """

    def __init__(self, redis: "Redis", ttl_s: int) -> None:
        self._redis, self._ttl_s = redis, ttl_s

    def read(self, caller: Principal) -> dict[str, Any]:
        """What the caller has set, unless it was forgotten for not being read or set for so long."""
        name = keys.caller_options(caller.key_id)
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(name)
        pipe.expire(name, self._ttl_s)
        fields = cast(dict[str, str], pipe.execute()[0])
        return {option: json.loads(value) for option, value in fields.items()}

    def update(self, caller: Principal, options: Mapping[str, Any]) -> None:
        """Set some options, which have been checked; others stay as they are."""
        if options:
            name = keys.caller_options(caller.key_id)
            pipe = self._redis.pipeline()
            pipe.hset(name, mapping={option: json.dumps(value) for option, value in options.items()})
            pipe.expire(name, self._ttl_s)
            pipe.execute()
