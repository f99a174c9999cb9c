"""An accepted job: every default filled in, every name resolved."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field

from shared.jobs.options import ControlNetOptions, JobOptions, LoraLoading, LoraOptions
from shared.message_base import GuidanceScale, ImageCount, Message, Seed, Sha256, ShortText, Step, StepCount

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


class ControlNetSpec(ControlNetOptions):
    """A ControlNet of an accepted job; image and map are in the image bucket, named by their sha256."""

    image: Sha256
    map: Sha256 | None = None  # what the ControlNet is shown; None: what the preprocessor makes of the image


class LoraRef(LoraOptions):
    """A LoRA of an accepted job: exactly this version of this object."""

    etag: ShortText
    size_bytes: int
    key: str | None = None  # of the object; None: the name with its suffix
    max_async_steps: int | None = None  # the file's own bound, from its object's metadata


class JobSpec(JobOptions):
    """An accepted job: every default filled in, every name resolved."""

    model: ShortText
    width: int | None  # None: the model's own size
    height: int | None
    num_inference_steps: StepCount
    guidance_scale: GuidanceScale
    scheduler: ShortText
    seed: Seed  # of the first image
    num_images: ImageCount
    controlnets: list[ControlNetSpec]
    loras: list[LoraRef]
    lora_loading: LoraLoading
    image: Sha256 | None = None  # the image to start from and its mask, named as control images are
    mask_image: Sha256 | None = None
    split_steps: list[Step] = Field([])  # mode replay: the steps whose CFG branches were predicted apart

    @property
    def image_seeds(self) -> list[int]:
        """The seed of each picture."""
        return self.seeds or [self.seed + i for i in range(self.num_images)]

    def with_maps(self, maps: Sequence[str | None]) -> Self:
        """The same job; what each of its ControlNets is shown is known."""
        controlnets = [
            controlnet.model_copy(update={"map": shown})
            for controlnet, shown in zip(self.controlnets, maps, strict=True)
        ]
        return self.model_copy(update={"controlnets": controlnets})

    @property
    def is_exact(self) -> bool:
        """Whether the job is computed as diffusers does: alone and in one batch.

        A replay also repeats the loss of ``residual_precision``, where the picture had one.
        """
        return self.lora_loading.mode != "bounded"

    @property
    def mixes_rows(self) -> bool:
        """Whether a net's result for a row depends on the other rows: a union attends across them."""
        return any(controlnet.control_mode is not None for controlnet in self.controlnets)


class StoredImage(Message):
    """One finished picture; the PNG is in the image bucket under ``key``."""

    key: str
    seed: int
    width: int
    height: int
    sha256: str


class Span(Message):
    """A stretch of a job's time, in seconds since the epoch; ``worker`` is who spent it."""

    name: str
    start_s: float
    end_s: float
    worker: str
    counts: dict[str, int] = Field({})  # what was moved in it, by what it counts


class Failure(Message):
    """Why a job failed: a code to match on and a sentence to read."""

    code: str
    detail: str
