"""Paths, queries and responses of the routes of LoRAs."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from api.openapi import Query
from api.schemas.lora_name import LoraName
from shared.storage.lora_base_model import Family
from shared.storage.lora_header import LoraInfo
from shared.storage.loras import ListedLora
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
    problem: str | None = Field(None, description="why this object cannot be used as a LoRA")

    @classmethod
    def listed(cls, lora: ListedLora) -> "LoraResponse":
        """The response for an object of the bucket."""
        name, stat, problem = lora
        return LoraResponse(
            name=name, size_bytes=stat.size_bytes, etag=stat.etag, modified=stat.modified, problem=problem
        )


class LoraPage(BaseModel):
    """LoRAs by name; ``next_cursor`` asks for the page after this one."""

    loras: list[LoraResponse]
    next_cursor: str | None


class LoraDetail(LoraResponse):
    """A LoRA and the contents of its header."""

    tensors: int | None = None
    rank: int | None = Field(None, description="the largest of its modules")
    parts: list[str] = Field([], examples=[["unet"]])
    family: Family | None = Field(None, description="of the base model it was trained for, if known")
    cross_attention_dim: int | None = None
    embeddings: list[str] = Field([], description="in its file, but not applied", examples=[["style"]])
    max_async_steps: int | None = Field(None, description="its own limit, for every job that names none")
    sha256: str | None = Field(None, description="of its bytes; known of files that came through the API")

    @classmethod
    def of(
        cls,
        name: str,
        stat: ObjectStat,
        info: LoraInfo | None = None,
        bound: int | None = None,
        problem: str | None = None,
    ) -> Self:
        """The response for an object and what is known of it."""
        return cls(
            name=name,
            size_bytes=stat.size_bytes,
            etag=stat.etag,
            modified=stat.modified,
            max_async_steps=bound,
            sha256=stat.metadata.get("sha256"),
            problem=problem,
            **(info.model_dump() if info else {}),
        )
