"""What REST takes: the body of a submission, field by field."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from shared.contract import MAX_SEED, Finite, Message
from shared.options import Options
from shared.preprocessors import NONE, check_name, fill_in
from shared.scales import Scale

#: Whether the halves of classifier-free guidance may run on two workers.
LatentParallelism = Literal["auto", "off", "on"]


class LoraLoading(Message):
    """When LoRAs take effect.

    ``exact``: before the first step, as in diffusers. ``bounded``: as soon as they arrive, at most
    ``max_async_steps`` steps late. ``replay``: each at its step in ``steps``.
    """

    mode: Literal["exact", "bounded", "replay"] = "bounded"
    max_async_steps: int | None = Field(None, ge=0, description="default: a fifth of the job's steps")
    steps: dict[str, Annotated[int, Field(ge=0)]] | None = Field(
        None, description="mode replay: the step at which each LoRA takes effect, from a receipt"
    )

    @model_validator(mode="after")
    def _fits_its_mode(self) -> "LoraLoading":
        if (self.steps is not None) != (self.mode == "replay"):
            raise ValueError("steps belongs to mode 'replay', and to no other")
        if self.max_async_steps is not None and self.mode != "bounded":
            raise ValueError("max_async_steps belongs to mode 'bounded'")
        return self


#: How a request brings an image along.
_IMAGE = (
    "base64 of a PNG, JPEG or WebP (a data: URL is accepted), or `sha256:` and the hash of an image"
    " that is stored"
)


class ControlRequest(Message):
    """One ControlNet of a job, with its control image."""

    name: str
    image: str = Field(description=_IMAGE)
    conditioning_scale: Finite = Field(1.0, ge=-10, le=10)
    guidance_start: Finite = Field(0.0, ge=0, le=1)
    guidance_end: Finite = Field(1.0, ge=0, le=1)
    preprocessor: str = Field(NONE, description="what makes the net's map of the image; see /v1/controlnets")
    preprocessor_options: dict[str, Any] = Field({}, validate_default=True)
    control_mode: int | None = Field(
        None, ge=0, description="of a ControlNet-Union: which of its kinds of control the image is"
    )

    @field_validator("preprocessor")
    @classmethod
    def _is_available(cls, name: str) -> str:
        return check_name(name)

    @field_validator("preprocessor_options")
    @classmethod
    def _fit_the_preprocessor(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return fill_in(info.data["preprocessor"], options) if "preprocessor" in info.data else options

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> "ControlRequest":
        if self.guidance_start >= self.guidance_end:
            raise ValueError("guidance_start must be less than guidance_end")
        return self


class LoraRequest(Message):
    """One LoRA of a job: a name in the bucket, and its strength."""

    name: str
    scale: Scale = Field(
        1.0,
        description="a number, or scales of the model's parts and the UNet's blocks, as in diffusers'"
        ' set_adapters: `{"unet": {"mid": 0.5, "up": {"block_1": [0.2, 0.4, 0.6]}}, "text_encoder": 0.5}`',
    )


class JobRequest(Options):
    """``POST /v1/jobs``. Only ``prompt`` is required; defaults are the model's own."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "prompt": "a red apple on a blue background",
                "seed": 7,
                "loras": [{"name": "twemoji", "scale": 1.0}],
            }
        },
    )

    prompt: str = Field(max_length=10_000)
    negative_prompt: str | None = Field(None, max_length=10_000)
    model: str | None = None
    width: int | None = Field(None, ge=8, multiple_of=8)
    height: int | None = Field(None, ge=8, multiple_of=8)
    num_inference_steps: int | None = Field(None, ge=1)
    guidance_scale: Finite | None = Field(None, ge=0, le=100)
    scheduler: str | None = None
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="unset: drawn, and told in the answer")
    num_images: int = Field(1, ge=1)
    image: str | None = Field(None, description=f"what is drawn over: {_IMAGE}; its size is the picture's")
    mask_image: str | None = Field(
        None, description="white where something is drawn, black where the image stays; sent as the image is"
    )
    controlnets: list[ControlRequest] = Field([], max_length=8)
    loras: list[LoraRequest] = Field([], max_length=16)
    lora_loading: LoraLoading = LoraLoading()
    latent_parallelism: LatentParallelism = Field(
        "auto",
        description="the halves of guidance on two UNet workers: `auto` while one is idle and no job waits,"
        " `on` also while jobs wait, `off` never; the picture differs in the last bits of the floats",
    )

    @model_validator(mode="after")
    def _exact_is_lossless(self) -> "JobRequest":
        if self.residual_precision != "exact" and self.lora_loading.mode == "exact":
            raise ValueError(
                f"residual_precision {self.residual_precision!r} is not lora_loading.mode 'exact'"
            )
        return self

    @model_validator(mode="after")
    def _exact_is_whole(self) -> "JobRequest":
        if self.latent_parallelism == "on" and self.lora_loading.mode != "bounded":
            mode = self.lora_loading.mode
            raise ValueError(f"latent_parallelism 'on' splits what lora_loading.mode {mode!r} keeps whole")
        return self
