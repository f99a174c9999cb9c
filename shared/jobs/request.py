"""What REST takes: the body of a submission, field by field."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from shared.catalog.preprocessors import NONE, check_name, fill_in
from shared.catalog.scheduler_aliases import canonical_name
from shared.jobs.field_names import RequestFields, field_error
from shared.jobs.foreign_names import (
    CONTROLNET_ALIASES,
    CONTROLNET_MEANT,
    JOB_ALIASES,
    JOB_MEANT,
    LORA_MEANT,
    OF_EACH_CONTROLNET,
)
from shared.jobs.lora_scales import Scale
from shared.jobs.options import Options
from shared.messaging.base_model import (
    ConditioningScale,
    Fraction,
    GuidanceScale,
    ImageCount,
    Prompt,
    Seed,
    ShortText,
    SidePx,
    Step,
    StepCount,
)
from shared.storage.lora_names import cut_suffix

#: ControlNets and LoRAs of one job.
MAX_CONTROLNETS, MAX_LORAS = 8, 16
#: Characters of an image in base64, whatever the limit of bodies.
MAX_IMAGE_CHARS = 256 << 20

#: Whether the halves of classifier-free guidance may run on two workers.
LatentParallelism = Literal["auto", "off", "on"]
#: A LoRA's name; the name of its file means the same.
LoraName = Annotated[ShortText, AfterValidator(cut_suffix)]


class LoraLoading(RequestFields):
    """When LoRAs take effect.

    ``exact``: before the first step, as in diffusers. ``bounded``: as soon as they arrive, at most
    ``max_async_steps`` steps late. ``replay``: each at its step in ``steps``.
    """

    mode: Literal["exact", "bounded", "replay"] = "bounded"
    max_async_steps: Step | None = Field(None, description="default: a fifth of the job's steps")
    steps: dict[LoraName, Step] | None = Field(
        None,
        max_length=MAX_LORAS,
        description="mode replay: the step at which each LoRA takes effect, from a receipt",
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


def check_option_value(value: Any) -> Any:
    """Which numbers an option takes, its preprocessor says."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("Input should be a number")
    return value


OptionValue = Annotated[Any, AfterValidator(check_option_value), WithJsonSchema({"type": "number"})]
PreprocessorOptions = Annotated[dict[ShortText, OptionValue], Field(max_length=16)]
#: Of a ControlNet-Union: which of its kinds of control an image is.
ControlMode = Annotated[int, Field(ge=0, le=255)]
ImageText = Annotated[str, Field(max_length=MAX_IMAGE_CHARS)]


class ControlRequest(RequestFields):
    """One ControlNet of a job, with its control image."""

    aliases = CONTROLNET_ALIASES
    meant = CONTROLNET_MEANT

    name: ShortText
    image: ImageText = Field(description=f"{_IMAGE} (also: control_image)")
    conditioning_scale: ConditioningScale = Field(
        1.0,
        description="also: controlnet_conditioning_scale, here or once for all ControlNets, as in diffusers",
    )
    guidance_start: Fraction = Field(0.0, description="also: control_guidance_start")
    guidance_end: Fraction = Field(1.0, description="also: control_guidance_end")
    preprocessor: ShortText = Field(
        NONE, description="what makes the net's map of the image; see /v1/controlnets"
    )
    preprocessor_options: PreprocessorOptions = Field({}, validate_default=True)
    control_mode: ControlMode | None = Field(
        None, description="of a ControlNet-Union: which of its kinds of control the image is"
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


class LoraRequest(RequestFields):
    """One LoRA of a job: a name in the bucket, and its strength."""

    meant = LORA_MEANT

    name: LoraName
    scale: Scale = Field(
        1.0,
        description="a number, or scales of the model's parts and the UNet's blocks, as in diffusers'"
        ' set_adapters: `{"unet": {"mid": 0.5, "up": {"block_1": [0.2, 0.4, 0.6]}}, "text_encoder": 0.5}`',
    )


class JobRequest(RequestFields, Options):
    """``POST /v1/jobs``. Only ``prompt`` is required; defaults are the model's own.

    diffusers' names are accepted where a field here is shorter; a field's description names them.
    """

    model_config = ConfigDict(
        json_schema_extra={"example": {"prompt": "a red apple on a blue background", "seed": 7}}
    )
    aliases = JOB_ALIASES
    meant = JOB_MEANT

    prompt: Prompt
    negative_prompt: Prompt | None = None
    model: ShortText | None = None
    width: SidePx | None = None
    height: SidePx | None = None
    num_inference_steps: StepCount | None = None
    guidance_scale: GuidanceScale | None = None
    scheduler: ShortText | None = Field(
        None, description="see /v1/models; also by diffusers' class, or as A1111 and ComfyUI write it"
    )
    seed: Seed | None = Field(None, description="unset: a random one, which the answer tells")
    num_images: ImageCount = Field(1, description="also: num_images_per_prompt")
    image: ImageText | None = Field(
        None, description=f"what is drawn over: {_IMAGE}; its size is the picture's"
    )
    mask_image: ImageText | None = Field(
        None, description="white where something is drawn, black where the image stays; sent as the image is"
    )
    controlnets: list[ControlRequest] = Field([], max_length=MAX_CONTROLNETS)
    loras: list[LoraRequest] = Field([], max_length=MAX_LORAS)
    lora_loading: LoraLoading = LoraLoading()
    latent_parallelism: LatentParallelism = Field(
        "auto",
        description="the halves of guidance on two UNet workers: `auto` while one is idle and no job waits,"
        " `on` also while jobs wait, `off` never; the picture differs in the last bits of the floats",
    )

    @classmethod
    def spread(cls, given: dict[str, Any]) -> list[InitErrorDetails]:
        """diffusers' arguments for all ControlNets become fields of each."""
        errors = []
        for name, field in OF_EACH_CONTROLNET.items():
            value = given.pop(name, None)
            problem = None if value is None else _give_each_controlnet(given, name, field, value)
            if problem is not None:
                errors.append(field_error("value_error", problem, name))
        return errors

    @field_validator("scheduler")
    @classmethod
    def _by_our_name(cls, name: str | None) -> str | None:
        return None if name is None else canonical_name(name)

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


def _give_each_controlnet(given: dict[str, Any], name: str, field: str, value: Any) -> str | None:
    """Write ``value``, or an item of it, into each of the ControlNets in ``given``; returns what is wrong."""
    controlnets = given.get("controlnets")
    if (
        not isinstance(controlnets, list)
        or not controlnets
        or not all(isinstance(controlnet, dict) for controlnet in controlnets)
    ):
        return f"{name} is about controlnets, and the job has none"
    values = value if isinstance(value, list) else [value] * len(controlnets)
    if len(values) != len(controlnets):
        return f"{name} has {len(values)} values for {len(controlnets)} controlnets"
    if any(controlnet.get(own) is not None for controlnet in controlnets for own in (field, name)):
        return f"{name} and {field} of controlnets say the same: give one of them"
    given["controlnets"] = [
        controlnet | {field: one} for controlnet, one in zip(controlnets, values, strict=True)
    ]
    return None
