"""Paths, queries and responses of the routes of LoRAs."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from api.openapi import Query
from api.schemas.lora_name import LoraName
from shared.storage.lora_base_model import Family
from shared.storage.lora_header import LoraInfo
from shared.storage.lora_names import owner_of
from shared.storage.loras import ListedLora, version_of
from shared.storage.object_store import ObjectStat


class LoraPath(BaseModel):
    """Path of a LoRA."""

    name: LoraName


class UploadQuery(Query):
    """What a client may say about a file that it uploads."""

    max_async_steps: int | None = Field(
        None, ge=0, le=999_999, description="steps a job may at most run without it; unset: as the job says"
    )


class LoraResponse(BaseModel):
    """A LoRA of the bucket."""

    name: str
    size_bytes: int
    etag: str
    modified: datetime
    version: str = Field(description="identifies exactly these bytes, as in `lora_inventory` of `/v1/fleet`")
    public: bool = Field(description="of all tenants; false: of one tenant alone")
    family: Family | None = Field(None, description="of the base model it was trained for, if known")
    rank: int | None = Field(
        None, description="the largest of its modules; null in a list: its header was not read lately"
    )
    problem: str | None = Field(None, description="why this object cannot be used as a LoRA")

    @classmethod
    def listed(cls, lora: ListedLora, bucket: str, info: LoraInfo | None, why_not: str) -> "LoraResponse":
        """The response for an object of ``bucket``.

        ``info`` is what its header was found to tell, ``why_not`` why that is no LoRA's; neither: not read.
        """
        name, stat, problem = lora
        return LoraResponse(
            **_object_fields(name, stat, bucket),
            family=info and info.family,
            rank=info and info.rank,
            problem=problem or why_not or None,
        )


class LoraPage(BaseModel):
    """LoRAs by name; ``next_cursor`` asks for the page after this one."""

    loras: list[LoraResponse]
    next_cursor: str | None


class LoraDetail(LoraResponse):
    """A LoRA and the contents of its header."""

    tensors: int | None = None
    parts: list[str] = Field([], examples=[["unet"]])
    cross_attention_dim: int | None = None
    embeddings: list[str] = Field([], description="in its file, but not applied", examples=[["style"]])
    max_async_steps: int | None = Field(None, description="its own limit, for every job that names none")
    sha256: str | None = Field(None, description="of its bytes; known of files that came through the API")

    @classmethod
    def of(
        cls,
        name: str,
        stat: ObjectStat,
        bucket: str,
        info: LoraInfo | None = None,
        bound: int | None = None,
        problem: str | None = None,
    ) -> Self:
        """The response for an object of ``bucket`` and what is known of it."""
        return cls(
            **_object_fields(name, stat, bucket),
            max_async_steps=bound,
            sha256=stat.metadata.get("sha256"),
            problem=problem,
            **(info.model_dump() if info else {}),
        )


def _object_fields(name: str, stat: ObjectStat, bucket: str) -> dict[str, Any]:
    return {
        "name": name,
        "size_bytes": stat.size_bytes,
        "etag": stat.etag,
        "modified": stat.modified,
        "version": version_of(bucket, name, stat.etag, stat.key),
        "public": owner_of(stat.key) is None,
    }
