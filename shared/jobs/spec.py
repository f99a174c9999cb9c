"""An accepted job: every default filled in, every name resolved."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from shared.jobs.options import (
    MAX_CONTROLNETS,
    MAX_LORAS,
    ControlNetOptions,
    JobOptions,
    LoraLoading,
    LoraOptions,
)
from shared.message_base import (
    MAX_STEPS,
    ConditioningScale,
    GuidanceScale,
    ImageCount,
    Seed,
    Sha256,
    ShortText,
    SidePx,
    Step,
    StepCount,
    ValueRange,
)


class ControlNetSpec(ControlNetOptions):
    """A ControlNet of an accepted job; its images are in the image bucket, named by their sha256."""

    conditioning_scale: ConditioningScale = 1.0
    image: Sha256
    control_map: Sha256 | None = Field(None, description="the preprocessor's output, once it is known")
    control_range: ValueRange | None = Field(
        None, description="black and white of the control image, as the catalog says; null: the family's"
    )


class LoraRef(LoraOptions):
    """A LoRA of an accepted job: exactly this version of this object."""

    etag: ShortText
    size_bytes: int = Field(ge=0, le=1 << 60)
    key: ShortText | None = None  # of the object; None: the name with its suffix
    max_async_steps: int | None = Field(
        None, ge=0, le=999_999, description="the file's own bound, from its object's metadata"
    )


class JobSpec(JobOptions):
    """An accepted job: every default filled in, every name resolved."""

    model: ShortText
    width: SidePx | None  # None: the model's own size
    height: SidePx | None
    num_inference_steps: StepCount
    guidance_scale: GuidanceScale
    scheduler: ShortText
    seed: Seed  # of the first image
    num_images: ImageCount
    controlnets: list[ControlNetSpec] = Field(max_length=MAX_CONTROLNETS)
    loras: list[LoraRef] = Field(max_length=MAX_LORAS)
    lora_loading: LoraLoading
    image: Sha256 | None = None  # the image to start from and its mask, named as control images are
    mask_image: Sha256 | None = None
    split_steps: list[Step] = Field(
        [],
        max_length=2 * MAX_STEPS,
        description="on a receipt, and in its replay: the steps whose CFG branches were predicted apart",
    )

    @property
    def image_seeds(self) -> list[int]:
        """The seed of each image."""
        return self.seeds or [self.seed + i for i in range(self.num_images)]

    def with_control_maps(self, control_maps: Sequence[str | None]) -> Self:
        """The same job with the control map of each of its ControlNets."""
        controlnets = [
            controlnet.model_copy(update={"control_map": control_map})
            for controlnet, control_map in zip(self.controlnets, control_maps, strict=True)
        ]
        return self.model_copy(update={"controlnets": controlnets})

    @property
    def is_exact(self) -> bool:
        """Whether the job is computed as diffusers does: alone and in one batch.

        A replay also repeats the loss of ``residual_precision``, if the first job had one.
        """
        return self.lora_loading.mode != "bounded"
