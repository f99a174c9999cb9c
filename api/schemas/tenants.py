"""Paths, bodies and responses of the routes of tenants and of their API keys."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from shared.tenants.key_store import StoredKey
from shared.tenants.scopes import Scope
from shared.tenants.tenant import PRIORITIES, Priority, Tenant, TenantId, TenantLimits, TenantName


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("must name each once")
    return values


Weight = Annotated[float, Field(strict=True, gt=0, le=1_000_000, allow_inf_nan=False)]
Priorities = Annotated[tuple[Priority, ...], Field(min_length=1), AfterValidator(_once)]
Scopes = Annotated[tuple[Scope, ...], Field(min_length=1), AfterValidator(_once)]


class Body(BaseModel):
    """A JSON body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class TenantPath(BaseModel):
    """Path of a tenant."""

    id: str


class KeyPath(BaseModel):
    """Path of a tenant's key."""

    id: str
    key_id: str


class NewTenant(Body):
    """A tenant to create."""

    id: TenantId = Field(examples=["acme"])
    name: TenantName = Field("", description="for people", examples=["Acme Inc."])
    weight: Weight = Field(1.0, description="share of the devices, next to other tenants' weights")
    priorities: Priorities = Field(PRIORITIES, description="priorities that its jobs may ask for")
    limits: TenantLimits = TenantLimits()


class TenantChange(Body):
    """What to change of a tenant: fields that are left out stay. In ``limits`` null takes a limit away."""

    name: TenantName | None = None
    weight: Weight | None = None
    priorities: Priorities | None = None
    limits: TenantLimits | None = None

    def apply(self, tenant: Tenant) -> Tenant:
        """The tenant as it is to be."""
        changes = {
            name: getattr(self, name)
            for name in ("name", "weight", "priorities")
            if getattr(self, name) is not None
        }
        limits = self.limits.model_dump(exclude_unset=True) if self.limits is not None else {}
        return tenant.model_copy(update={**changes, "limits": tenant.limits.model_copy(update=limits)})


class TenantResponse(BaseModel):
    """A tenant."""

    id: str
    name: str
    created_at: datetime
    weight: float
    priorities: tuple[Priority, ...]
    limits: TenantLimits

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """The response for a stored tenant."""
        return cls(**{**dict(tenant), "created_at": _time(tenant.created_at)})


class TenantPage(BaseModel):
    """Tenants by id, the first page with `local`; ``next_cursor`` asks for the page after this one."""

    tenants: list[TenantResponse]
    next_cursor: str | None


class NewKey(Body):
    """An API key to make."""

    name: TenantName = Field("", description="for people", examples=["gallery server"])
    scopes: Scopes = Field(("jobs", "loras"), description="what it may be used for; `admin`: everything")
    expires_at: AwareDatetime | None = Field(None, description="null: never")


class Rotation(Body):
    """How a key is replaced by a new one."""

    overlap_s: int = Field(3600, strict=True, ge=0, le=31_536_000, description="the old one works on")


class KeyResponse(BaseModel):
    """An API key, without what only its owner knows."""

    id: str
    tenant: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute; null: not for a year")

    @classmethod
    def of(cls, stored: StoredKey, last_used_at: float | None = None, **more: Any) -> Self:
        """The response for a stored key."""
        return cls(
            id=stored.id,
            tenant=stored.tenant,
            name=stored.name,
            scopes=stored.scopes,
            created_at=_time(stored.created_at),
            expires_at=_time_or_none(stored.expires_at),
            revoked_at=_time_or_none(stored.revoked_at),
            last_used_at=_time_or_none(last_used_at),
            **more,
        )


class MadeKey(KeyResponse):
    """A new API key. ``key`` is shown this once: only its hash is stored."""

    key: str


class KeyList(BaseModel):
    """API keys of a tenant, the oldest first; expired and revoked ones for 90 days."""

    keys: list[KeyResponse]


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _time_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
