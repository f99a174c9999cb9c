"""What is stored of API keys: a hash each in the control Redis, and the ids of each tenant's keys."""

import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from shared import keys
from shared.errors import Conflict, NotFound
from shared.tenants.api_key import ApiKey
from shared.tenants.scopes import Scope
from shared.tenants.tenant import LOCAL

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

#: Expired and revoked keys are listed, and named in errors, for so long.
KEPT_S = 90 * 24 * 3600
#: When a key was used last is known for so long after the last use of any key of its tenant.
USES_KEPT_S = 365 * 24 * 3600
#: Of one tenant, expired and revoked ones included.
MAX_KEYS = 1000


def _split(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


Scopes = Annotated[
    tuple[Scope, ...],
    BeforeValidator(_split),
    PlainSerializer(",".join, when_used="unless-none"),
]


class StoredKey(BaseModel):
    """What is stored of a key. Times are seconds since 1970; ``sha256`` is of the whole key."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    tenant: str
    name: str = ""
    scopes: Scopes
    sha256: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_of(self, key: ApiKey) -> bool:
        """Whether this is what is stored of ``key``; takes as long whatever the key is."""
        return hmac.compare_digest(self.sha256, key.sha256)


class KeyStore:
    """Keys in the control Redis."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def add(self, key: StoredKey) -> None:
        """Store a key; raises `NotFound` without its tenant, `Conflict` if that has too many."""
        if self._redis.zcard(keys.tenant_keys(key.tenant)) >= MAX_KEYS:
            self.of_tenant(key.tenant)  # forgets those whose time is over

        def put(pipe: "Pipeline") -> None:
            if key.tenant != LOCAL and not pipe.exists(keys.tenant(key.tenant)):
                raise NotFound(f"there is no tenant {key.tenant!r}")
            if pipe.zcard(keys.tenant_keys(key.tenant)) >= MAX_KEYS:
                raise Conflict(f"tenant {key.tenant!r} has {MAX_KEYS} keys, and may have no more")
            fields = key.model_dump(exclude_none=True)
            pipe.multi()
            pipe.hset(keys.api_key(key.id), mapping=cast(dict[Any, Any], fields))
            pipe.zadd(keys.tenant_keys(key.tenant), {key.id: key.created_at})
            if key.expires_at is not None:
                pipe.expireat(keys.api_key(key.id), int(key.expires_at) + KEPT_S)

        self._redis.transaction(put, keys.tenant(key.tenant), keys.tenant_keys(key.tenant))

    def find(self, key_id: str) -> StoredKey | None:
        """The key of that id, expired and revoked ones too; ``None`` if there is none."""
        return _read(cast(dict[str, str], self._redis.hgetall(keys.api_key(key_id))))

    def get(self, tenant: str, key_id: str) -> StoredKey:
        """The tenant's key of that id; raises `NotFound`."""
        key = self.find(key_id)
        if key is None or key.tenant != tenant:
            raise NotFound(f"tenant {tenant!r} has no key {key_id!r}")
        return key

    def of_tenant(self, tenant: str) -> list[StoredKey]:
        """All keys of a tenant, the oldest first."""
        ids = cast(list[str], self._redis.zrange(keys.tenant_keys(tenant), 0, -1))
        pipe = self._redis.pipeline(transaction=False)
        for key_id in ids:
            pipe.hgetall(keys.api_key(key_id))
        found = dict(zip(ids, map(_read, pipe.execute()), strict=True)) if ids else {}
        self._forget(tenant, [key_id for key_id, key in found.items() if key is None])
        return [key for key in found.values() if key is not None]

    def revoke(self, tenant: str, key_id: str, now: float) -> None:
        """Revoke the tenant's key; one that is revoked stays as it is. Raises `NotFound`."""
        if self.get(tenant, key_id).revoked_at is None:
            pipe = self._redis.pipeline()
            pipe.hset(keys.api_key(key_id), "revoked_at", str(now))
            pipe.expire(keys.api_key(key_id), KEPT_S)
            pipe.execute()

    def expire(self, tenant: str, key_id: str, at: float) -> None:
        """Have the tenant's key expire at ``at``, unless it does before; raises `NotFound`."""
        key = self.get(tenant, key_id)
        if key.expires_at is None or at < key.expires_at:
            pipe = self._redis.pipeline()
            pipe.hset(keys.api_key(key_id), "expires_at", str(at))
            if key.revoked_at is None:
                pipe.expireat(keys.api_key(key_id), int(at) + KEPT_S)
            pipe.execute()

    def note_use(self, key: StoredKey, now: float) -> None:
        """Store when a key was used; a hash beside it, so that no deleted key comes back."""
        pipe = self._redis.pipeline()
        pipe.hset(keys.tenant_key_uses(key.tenant), key.id, str(int(now)))
        pipe.expire(keys.tenant_key_uses(key.tenant), USES_KEPT_S)  # also of a tenant that has just gone
        pipe.execute()

    def last_uses(self, tenant: str) -> dict[str, float]:
        """When the keys of a tenant were used last, by id; not those that never were."""
        found = cast(dict[str, str], self._redis.hgetall(keys.tenant_key_uses(tenant)))
        return {key_id: float(at) for key_id, at in found.items()}

    def _forget(self, tenant: str, key_ids: Sequence[str]) -> None:
        """Remove what is left of keys whose time is over."""
        if key_ids:
            pipe = self._redis.pipeline()
            pipe.zrem(keys.tenant_keys(tenant), *key_ids)
            pipe.hdel(keys.tenant_key_uses(tenant), *key_ids)
            pipe.execute()


def _read(fields: dict[str, str]) -> StoredKey | None:
    return StoredKey.model_validate(fields) if fields.get("sha256") else None
