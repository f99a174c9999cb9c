"""Tenants in the control Redis: a hash each, and a sorted set of their ids."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from shared import keys
from shared.errors import Conflict, NotFound
from shared.tenants.tenant import LOCAL, TENANT_ID, Tenant, TenantLimits

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline


class TenantStore:
    """Creates, reads, changes and deletes tenants. `LOCAL` is always there and never changes."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def create(self, tenant: Tenant) -> None:
        """Store a tenant; raises `Conflict` for an id that is, or was, another's: what that one owned may
        still be there.
        """

        def put(pipe: "Pipeline") -> None:
            if tenant.id == LOCAL or pipe.exists(keys.tenant(tenant.id)):
                raise Conflict(f"there is a tenant {tenant.id!r} already")
            if pipe.sismember(keys.TENANTS_DELETED, tenant.id):
                raise Conflict(f"tenant {tenant.id!r} was deleted: its id is not given again")
            pipe.multi()
            pipe.hset(keys.tenant(tenant.id), mapping=_fields(tenant))
            pipe.zadd(keys.TENANTS, {tenant.id: 0})

        self._redis.transaction(put, keys.tenant(tenant.id), keys.TENANTS_DELETED)

    def get(self, tenant_id: str) -> Tenant:
        """The tenant of that id; raises `NotFound`."""
        if tenant_id == LOCAL:
            return Tenant.local()
        return _read(tenant_id, cast(dict[str, str], self._redis.hgetall(_name(tenant_id))))

    def page(self, *, after: str, limit: int) -> list[Tenant]:
        """At most ``limit`` stored tenants by id, those after the id ``after``."""
        start = f"({after}" if after else "-"
        ids = cast(list[str], self._redis.zrangebylex(keys.TENANTS, start, "+", start=0, num=limit))
        pipe = self._redis.pipeline(transaction=False)
        for tenant_id in ids:
            pipe.hgetall(keys.tenant(tenant_id))
        found = zip(ids, pipe.execute(), strict=True) if ids else ()
        return [_read(tenant_id, fields) for tenant_id, fields in found if fields]

    def change(self, tenant_id: str, change: Callable[[Tenant], Tenant]) -> Tenant:
        """Store what ``change`` makes of a tenant; raises `NotFound`, `Conflict` for `LOCAL`."""
        if tenant_id == LOCAL:
            raise Conflict(f"tenant {LOCAL!r} has no limits and cannot be changed")
        changed: list[Tenant] = []

        def put(pipe: "Pipeline") -> None:
            tenant = change(_read(tenant_id, cast(dict[str, str], pipe.hgetall(_name(tenant_id)))))
            changed[:] = [tenant]
            pipe.multi()
            pipe.delete(keys.tenant(tenant_id))
            pipe.hset(keys.tenant(tenant_id), mapping=_fields(tenant))

        self._redis.transaction(put, keys.tenant(tenant_id))
        return changed[0]

    def delete(self, tenant_id: str) -> None:
        """Delete a tenant, its keys and its webhooks; raises `NotFound`, `Conflict` for `LOCAL`.

        What else it has left, its jobs, LoRAs and images, is then deleted by the sweep of a worker. Its id is
        not given again.
        """
        if tenant_id == LOCAL:
            raise Conflict(f"tenant {LOCAL!r} cannot be deleted")

        def put(pipe: "Pipeline") -> None:
            _read(tenant_id, cast(dict[str, str], pipe.hgetall(_name(tenant_id))))
            key_ids = cast(list[str], pipe.zrange(keys.tenant_keys(tenant_id), 0, -1))
            seconds, _ = pipe.time()
            pipe.multi()
            pipe.sadd(keys.TENANTS_DELETED, tenant_id)
            pipe.zadd(keys.TENANTS_DELETING, {tenant_id: seconds})
            pipe.zrem(keys.TENANTS, tenant_id)
            pipe.srem(keys.WEBHOOK_OWNERS, tenant_id)
            pipe.delete(
                keys.tenant(tenant_id),
                keys.tenant_keys(tenant_id),
                keys.tenant_key_uses(tenant_id),
                keys.webhooks(tenant_id),
                keys.webhook_default(tenant_id),
                *map(keys.api_key, key_ids),
            )

        self._redis.transaction(put, keys.tenant(tenant_id), keys.tenant_keys(tenant_id))


def _name(tenant_id: str) -> str:
    """The key of a tenant's hash; raises `NotFound` for what is no id: other keys begin alike."""
    if not re.fullmatch(TENANT_ID, tenant_id):
        raise NotFound(f"there is no tenant {tenant_id!r}")
    return keys.tenant(tenant_id)


def _fields(tenant: Tenant) -> dict[Any, Any]:
    """The fields of a tenant's hash: flat, so that scripts read one limit; no limit is no field."""
    limits = tenant.limits.model_dump(exclude_none=True)
    return {
        "name": tenant.name,
        "created_at": repr(tenant.created_at),
        "weight": repr(tenant.weight),
        "priorities": ",".join(tenant.priorities),
        **limits,
    }


def _read(tenant_id: str, fields: dict[str, str]) -> Tenant:
    if not fields:
        raise NotFound(f"there is no tenant {tenant_id!r}")
    return Tenant.model_validate(
        {
            "id": tenant_id,
            "name": fields.get("name", ""),
            "created_at": fields["created_at"],
            "weight": fields["weight"],
            "priorities": fields["priorities"].split(","),
            "limits": {name: int(fields[name]) for name in TenantLimits.model_fields if name in fields},
        }
    )
