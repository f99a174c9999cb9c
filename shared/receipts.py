"""The receipt: everything that decides the pixels of a job's pictures."""

import hashlib
import json
from typing import Any, Self

from pydantic import Field, model_validator

from shared.contract import Message
from shared.options import Options
from shared.requests import LatentParallelism, LoraLoading
from shared.scales import Scale
from shared.specs import ControlSpec

#: Goes up when an older fleet would draw something else from a receipt than it says.
FORMAT = 2


class NetReceipt(ControlSpec):
    """A net as it was used: ``sha256`` is of its weights."""

    sha256: str
    batch: int = 1  # most jobs whose steps it computed in one pass; above 1 the last bits may differ


class LoraReceipt(Message):
    """A LoRA as it was used; ``step`` is the first step that saw it."""

    name: str
    etag: str
    sha256: str
    scale: Scale
    step: int


class WorkerReceipt(Message):
    """What a worker computed with: another one may sum floats in another order."""

    device: str
    threads: int  # of the CPU; the order of float sums depends on it
    dtype: str
    versions: dict[str, str]


class Receipt(Options):
    """Everything that decides the pixels of a job's pictures.

    What it shares with the job's spec has the same name there: so it is written, and so it is replayed.
    """

    version: int = Field(1, description="of this format; the first had no digest")
    model: str
    model_sha256: str
    switches: dict[str, Any] = Field({})  # of how it was loaded: attention slicing, tiling of the VAE
    prompt: str
    negative_prompt: str | None
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    scheduler_config: dict[str, Any]
    seed: int
    num_images: int  # picture i of the batch uses seed + i, unless there are seeds
    controlnets: list[NetReceipt]
    loras: list[LoraReceipt]
    lora_loading: LoraLoading
    image: str | None = None  # sha256 of what was drawn over, and of where
    mask_image: str | None = None
    latent_parallelism: LatentParallelism = "auto"
    split_steps: list[int] = Field([])  # steps whose guidance halves were predicted apart
    assistant: WorkerReceipt | None = Field(
        None, description="the second worker that predicted halves; the rest is of the worker that drew"
    )
    device: str
    threads: int  # of the CPU; the order of float sums depends on it
    dtype: str
    versions: dict[str, str]
    digest: str = Field("", description="sha256 over the rest: finds accidental edits, signs nothing")

    @model_validator(mode="before")
    @classmethod
    def _is_of_a_known_format(cls, told: Any) -> Any:
        """Before the fields: a newer receipt may have others."""
        version = told.get("version", 1) if isinstance(told, dict) else 1
        if isinstance(version, int) and version > FORMAT:
            raise ValueError(f"a receipt of format {version}; this fleet reads formats up to {FORMAT}")
        return told

    def sealed(self) -> Self:
        """The same receipt with its digest."""
        return self.model_copy(update={"digest": self._digest()})

    def is_edited(self) -> bool:
        """Whether a field was changed since the receipt was sealed."""
        return (self.version > 1 or self.digest != "") and self.digest != self._digest()

    def _digest(self) -> str:
        # Defaults are left out, so that a field which is added later changes no digest.
        told = self.model_dump(mode="json", exclude={"digest"}, exclude_defaults=True)
        text = json.dumps(_plain(told), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """JSON as every language writes it again: some do not tell 3.0 from 3."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
