"""Options of a job: field groups that its request, the accepted job and its receipt share."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from shared.catalog.preprocessors import NONE
from shared.image_files.formats import PNG, OutputFormat, OutputQuality
from shared.jobs.families.options import UNET_FIELDS, FamilyOptions, set_fields
from shared.jobs.lora_scales import Scale
from shared.message_base import (
    MAX_IMAGES,
    ConditioningScale,
    Finite,
    Fraction,
    Prompt,
    Seed,
    ShortText,
    Step,
    StrictMessage,
)

#: ControlNets and LoRAs of one job.
MAX_CONTROLNETS, MAX_LORAS = 8, 16
#: Stable Diffusion's models are trained on so many timesteps.
TRAIN_TIMESTEPS = 1000
#: No noise schedule begins higher.
MAX_SIGMA = 1e6

#: How residuals are encoded between workers: `workers.transport.codecs`.
Precision = Literal["exact", "float16", "int8"]
#: How prompts are read: as they stand, or by the rules of `shared.prompts.weights`.
PromptSyntax = Literal["plain", "a1111"]
#: Whether the two branches of classifier-free guidance may run on two workers.
LatentParallelism = Literal["auto", "off", "on"]


def check_option_value(value: Any) -> Any:
    """An option of a preprocessor is a number; which ones it takes, the preprocessor checks."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("Input should be a number")
    return value


OptionValue = Annotated[Any, AfterValidator(check_option_value), WithJsonSchema({"type": "number"})]
PreprocessorOptions = Annotated[dict[ShortText, OptionValue], Field(max_length=16)]


class ControlNetOptions(StrictMessage):
    """How one ControlNet guides a job."""

    name: ShortText
    conditioning_scale: ConditioningScale | None = Field(
        None, description="default: the family's, see /v1/models; of most 1"
    )
    guidance_start: Fraction = Field(0.0, description="share of the steps before it takes part")
    guidance_end: Fraction = Field(1.0, description="share of the steps after which it no longer does")
    preprocessor: ShortText = Field(
        NONE, description="makes the control map from the image; see /v1/controlnets"
    )
    preprocessor_options: PreprocessorOptions = Field({}, validate_default=True)
    control_mode: Annotated[int, Field(ge=0, le=255)] | None = Field(
        None, description="of a ControlNet-Union: which of its kinds of control the image is"
    )


class LoraOptions(StrictMessage):
    """One LoRA of a job, by its name in the bucket, and its strength."""

    name: ShortText
    scale: Scale = Field(
        1.0,
        description="a number, or scales of the model's parts and the UNet's blocks, as in diffusers'"
        ' set_adapters: `{"unet": {"mid": 0.5, "up": {"block_1": [0.2, 0.4, 0.6]}}, "text_encoder": 0.5}`',
    )


class LoraLoading(StrictMessage):
    """When LoRAs take effect.

    ``exact``: before the first step, as in diffusers. ``bounded``: as soon as they arrive, at most
    ``max_async_steps`` steps late. ``replay``: each at its step in ``steps``.
    """

    mode: Literal["exact", "bounded", "replay"] = "bounded"
    max_async_steps: Step | None = Field(None, description="default: a fifth of the job's steps")
    steps: dict[ShortText, Step] | None = Field(
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


class JobOptions(FamilyOptions):
    """Options that need no resolving. Names and meanings are diffusers'; defaults change nothing."""

    prompt: Prompt
    negative_prompt: Prompt | None = None
    seeds: list[Seed] | None = Field(
        None,
        min_length=1,
        max_length=MAX_IMAGES,
        description="one image for each, in place of seed and num_images",
    )
    strength: Fraction | None = Field(
        None, description="how much of an image is generated anew; default: the family's, see /v1/models"
    )
    guess_mode: bool = Field(
        False, description="ControlNets guide the conditional branch alone, the deepest most"
    )
    long_prompt: Literal["truncate", "chunk"] = Field(
        "truncate",
        description="a prompt longer than the text encoder's window: cut, with a warning, as diffusers"
        " does it, or encoded in chunks whose embeddings are concatenated",
    )
    prompt_syntax: PromptSyntax = Field(
        "plain",
        description="`a1111`: prompts have weights, `(x:1.2)`, `BREAK` and `<lora:name:weight>` as in A1111,"
        " and are encoded in chunks, whatever their length",
    )
    clip_skip: int | None = Field(
        None, ge=0, le=64, description="layers of the text encoder to leave out, counted from its last"
    )
    guidance_rescale: Fraction = Field(0.0, description="arXiv 2305.08891, section 3.4")
    eta: Fraction = Field(0.0, description="noise of DDIM and TCD; refused by other schedulers")
    timesteps: list[Annotated[int, Field(ge=0, lt=TRAIN_TIMESTEPS)]] | None = Field(
        None,
        min_length=1,
        max_length=TRAIN_TIMESTEPS,
        description="falling; in place of num_inference_steps",
    )
    sigmas: list[Annotated[Finite, Field(ge=0, le=MAX_SIGMA)]] | None = Field(
        None,
        min_length=1,
        max_length=TRAIN_TIMESTEPS + 1,
        description="falling; in place of num_inference_steps; the last is where it ends, but for flow"
        " matching, where each step has one, of at most 1",
    )
    residual_precision: Precision = Field(
        "exact",
        description="how ControlNet residuals travel between workers: `exact`, or with loss and in fewer"
        " bytes, `float16` or `int8` with a scale for each channel of a UNet, each token of a transformer;"
        " refused by lora_loading.mode `exact`",
    )
    latent_parallelism: LatentParallelism = Field(
        "auto",
        description="the branches of guidance on two UNet workers: `auto` while one is idle and no job waits,"
        " `on` also while jobs wait, `off` never; the image differs in the last bits of the floats, but for"
        " families whose branches are two forwards in diffusers, too: Flux.1 and Qwen-Image",
    )
    output_format: OutputFormat = Field(PNG, description="of the images' files")
    output_quality: OutputQuality | None = Field(
        None, description="of `jpeg` and `webp`, as Pillow means it; default 95"
    )

    @property
    def limited_fields(self) -> list[str]:
        """The fields set here that not every family takes: `FamilyOptions`, and some that UNets alone do."""
        return set_fields(self, (*FamilyOptions.model_fields, *UNET_FIELDS))

    @field_validator("timesteps", "sigmas")
    @classmethod
    def _falls(cls, values: list[float] | None) -> list[float] | None:
        if values is not None and any(after >= before for before, after in pairwise(values)):
            raise ValueError("each must be less than the one before")
        return values


def fields_of(group: type[StrictMessage], message: StrictMessage) -> dict[str, Any]:
    """The values of a field group that ``message`` inherits, as arguments for another class that does."""
    return {name: getattr(message, name) for name in group.model_fields}
