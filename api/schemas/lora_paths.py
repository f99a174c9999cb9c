"""What the routes of LoRAs take in path and query."""

from pydantic import BaseModel, Field

from api.openapi import Query
from shared.jobs.options import LoraName


class LoraPath(BaseModel):
    """Which LoRA."""

    name: LoraName


class UploadQuery(Query):
    """What a file cannot tell of itself."""

    max_async_steps: int | None = Field(
        None, ge=0, le=999_999, description="steps a job may at most run without it; unset: as the job says"
    )
