"""Tenants: who owns jobs and LoRAs, and how much each may use."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared import keys

#: Owns everything while authentication is off, and what was there before. Always exists, is not stored.
LOCAL = keys.LOCAL
Priority = Literal["interactive", "normal", "batch"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
TENANT_ID = r"[a-z0-9][a-z0-9-]{0,31}"
TenantId = Annotated[str, StringConstraints(pattern=f"^{TENANT_ID}$")]
TenantName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
#: Redis counts and Lua compares as floats: larger integers are not exact.
MAX_COUNT = 1 << 53
Limit = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]


class TenantLimits(BaseModel):
    """How much a tenant may use; null: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_s: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        None, description="requests in any second, over all keys and API processes"
    )
    max_waiting_jobs: Limit | None = Field(None, description="jobs that wait at once")
    max_running_jobs: Limit | None = Field(None, description="jobs that run at once")
    pixel_steps_per_day: Limit | None = Field(None, description="pixels × steps × images in a day (UTC)")
    lora_bytes: Limit | None = Field(None, description="bytes of the tenant's own LoRAs")


class Tenant(BaseModel):
    """Who owns jobs and LoRAs."""

    model_config = ConfigDict(frozen=True)

    id: TenantId
    name: TenantName = ""
    created_at: float = Field(description="seconds since 1970")
    weight: float = Field(1.0, gt=0, le=1_000_000, allow_inf_nan=False)
    priorities: tuple[Priority, ...] = Field(PRIORITIES, min_length=1)
    limits: TenantLimits = TenantLimits()

    @classmethod
    def local(cls) -> Self:
        """The tenant `LOCAL`."""
        return cls(id=LOCAL, name="everything without authentication", created_at=0.0)
