"""Receipts of formats 1 and 2, whose fields lay side by side: they are read, and no longer written."""

from typing import Any

from pydantic import Field

from shared.jobs.lora_scales import Scale
from shared.jobs.options import (
    MAX_CONTROLNETS,
    MAX_LORAS,
    ControlNetOptions,
    JobOptions,
    LoraLoading,
    fields_of,
)
from shared.jobs.receipt import ControlNetReceipt, LoraReceipt, Receipt, Threads, WorkerReceipt, digest_of
from shared.jobs.spec import ControlNetSpec, JobSpec, LoraRef
from shared.message_base import (
    MAX_STEPS,
    ConditioningScale,
    Fraction,
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

# A digest leaves out defaults: a field without a default here must never get one.


class LegacyControlNet(ControlNetOptions):
    """A ControlNet of a receipt."""

    image: Sha256
    conditioning_scale: ConditioningScale
    guidance_start: Fraction
    guidance_end: Fraction
    map: Sha256 | None = None
    sha256: Sha256
    batch: int = Field(1, ge=1, le=1 << 16)


class LegacyLora(StrictMessage):
    """A LoRA of a receipt."""

    name: ShortText
    etag: ShortText
    sha256: Sha256
    scale: Scale
    step: Step


class LegacyReceipt(JobOptions):
    """A receipt of format 1, which had no digest, or 2."""

    version: int = Field(1, ge=1, le=2)
    model: ShortText
    model_sha256: Sha256
    switches: JsonObject = Field({})
    negative_prompt: Prompt | None
    width: SidePx
    height: SidePx
    num_inference_steps: StepCount
    guidance_scale: GuidanceScale
    scheduler: ShortText
    scheduler_config: JsonObject
    seed: Seed
    num_images: ImageCount
    controlnets: list[LegacyControlNet] = Field(max_length=MAX_CONTROLNETS)
    loras: list[LegacyLora] = Field(max_length=MAX_LORAS)
    lora_loading: LoraLoading
    image: Sha256 | None = None
    mask_image: Sha256 | None = None
    split_steps: list[Step] = Field([], max_length=2 * MAX_STEPS)
    assistant: WorkerReceipt | None = None
    device: ShortText
    threads: Threads
    dtype: ShortText
    versions: Versions
    digest: Sha256 = ""

    def is_edited(self) -> bool:
        """Whether a field was changed since the receipt was written, as far as it has a digest."""
        return (self.version > 1 or self.digest != "") and self.digest != digest_of(self)

    def upgraded(self) -> Receipt:
        """The same receipt in the present format."""
        return Receipt(
            spec=self._spec(),
            model_sha256=self.model_sha256,
            switches=self.switches,
            scheduler_config=self.scheduler_config,
            controlnets=[
                ControlNetReceipt(name=one.name, sha256=one.sha256, batch=one.batch)
                for one in self.controlnets
            ],
            loras=[LoraReceipt(name=one.name, sha256=one.sha256, step=one.step) for one in self.loras],
            worker=WorkerReceipt(
                device=self.device, threads=self.threads, dtype=self.dtype, versions=self.versions
            ),
            cfg_follower=self.assistant,
        ).sealed()

    def _spec(self) -> JobSpec:
        own: dict[str, Any] = {name: getattr(self, name) for name in JobSpec.model_fields}
        return JobSpec(
            **own
            | {
                "controlnets": [
                    ControlNetSpec(**fields_of(ControlNetOptions, one), image=one.image, control_map=one.map)
                    for one in self.controlnets
                ],
                # A legacy receipt does not know how large a file was; a replay finds it by its name.
                "loras": [
                    LoraRef(name=one.name, etag=one.etag, size_bytes=0, scale=one.scale) for one in self.loras
                ],
            }
        )


def is_legacy(value: Any) -> bool:
    """Whether a receipt, as JSON, is of a format of this module."""
    return isinstance(value, dict) and value.get("version", 1) in (1, 2)
