"""The receipt: everything that decides the pixels of a job's pictures."""

import hashlib
import json
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, model_validator

from shared.jobs.lora_scales import Scale
from shared.jobs.options import MAX_CONTROLNETS, MAX_LORAS, JobOptions, LoraLoading
from shared.jobs.spec import ControlNetSpec
from shared.message_base import (
    MAX_STEPS,
    STORED,
    GuidanceScale,
    ImageCount,
    JsonObject,
    Prompt,
    Seed,
    Sha256,
    ShortText,
    SidePx,
    Step,
    StepCount,
    StrictMessage,
    Versions,
)

#: Goes up when an older fleet would draw something else from a receipt than it says.
FORMAT = 2


class ControlNetReceipt(ControlNetSpec):
    """A ControlNet as it was used: ``sha256`` is of its weights."""

    sha256: Sha256
    # most jobs whose steps it computed in one pass; above 1 the last bits may differ
    batch: int = Field(1, ge=1, le=1 << 16)


class LoraReceipt(StrictMessage):
    """A LoRA as it was used; ``step`` is the first step that saw it."""

    name: ShortText
    etag: ShortText
    sha256: Sha256
    scale: Scale
    step: Step


#: Of the CPU; the order of float sums depends on it.
Threads = Annotated[int, Field(ge=1, le=1 << 16)]


class WorkerReceipt(StrictMessage):
    """What a worker computed with: another one may sum floats in another order."""

    device: ShortText
    threads: Threads
    dtype: ShortText
    versions: Versions


class Receipt(JobOptions):
    """Everything that decides the pixels of a job's pictures.

    What it shares with the job's spec has the same name there: so it is written, and so it is replayed.
    """

    version: int = Field(1, ge=1, le=FORMAT, description="of this format; the first had no digest")
    model: ShortText
    model_sha256: Sha256
    switches: JsonObject = Field({})  # of how it was loaded: attention slicing, tiling of the VAE
    negative_prompt: Prompt | None  # no default: digests leave out defaults
    width: SidePx
    height: SidePx
    num_inference_steps: StepCount
    guidance_scale: GuidanceScale
    scheduler: ShortText
    scheduler_config: JsonObject
    seed: Seed
    num_images: ImageCount  # picture i of the batch uses seed + i, unless there are seeds
    controlnets: list[ControlNetReceipt] = Field(max_length=MAX_CONTROLNETS)
    loras: list[LoraReceipt] = Field(max_length=MAX_LORAS)
    lora_loading: LoraLoading
    image: Sha256 | None = None  # sha256 of what was drawn over, and of where
    mask_image: Sha256 | None = None
    # steps whose guidance halves were predicted apart
    split_steps: list[Step] = Field([], max_length=2 * MAX_STEPS)
    assistant: WorkerReceipt | None = Field(
        None, description="the second worker that predicted halves; the rest is of the worker that drew"
    )
    device: ShortText
    threads: Threads
    dtype: ShortText
    versions: Versions
    digest: Sha256 = Field("", description="sha256 over the rest: finds accidental edits, signs nothing")

    @model_validator(mode="before")
    @classmethod
    def _is_of_a_known_format(cls, told: Any, info: ValidationInfo) -> Any:
        """Before the fields: a newer receipt may have others. One that is stored is read all the same."""
        if info.context is STORED:
            return told
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
