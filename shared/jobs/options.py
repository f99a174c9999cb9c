"""What a job may turn that is the same in its request, in the accepted job and on its receipt."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, field_validator

from shared.messaging.base_model import MAX_IMAGES, MAX_SIDE_PX, Finite, Fraction, Prompt, Seed, StrictMessage

#: Stable Diffusion's models are trained on so many timesteps.
TRAIN_TIMESTEPS = 1000
#: How residuals travel between workers: `workers.transport.codecs`.
Precision = Literal["exact", "float16", "int8"]
_Px = Annotated[int, Field(ge=0, le=MAX_SIDE_PX)]
#: (height, width) in pixels, as diffusers counts them. JSON has lists, not tuples.
Size = Annotated[tuple[_Px, _Px], Strict(False)]
#: No noise schedule begins higher.
MAX_SIGMA = 1e6


class SdxlOptions(StrictMessage):
    """What only SDXL is told: text of the second encoder's own, and sizes, (height, width) each."""

    prompt_2: Prompt | None = Field(None, description="default: prompt")
    negative_prompt_2: Prompt | None = Field(None, description="default: negative_prompt")
    original_size: Size | None = Field(None, description="default: the picture's size")
    crops_coords_top_left: Size = (0, 0)
    target_size: Size | None = Field(None, description="default: the picture's size")
    negative_original_size: Size | None = Field(
        None, description="with negative_target_size: the unconditional half's own"
    )
    negative_crops_coords_top_left: Size = (0, 0)
    negative_target_size: Size | None = None

    @property
    def sdxl_only(self) -> list[str]:
        """Fields that are set here and mean nothing to another family."""
        fields = SdxlOptions.model_fields
        return [name for name, field in fields.items() if getattr(self, name) != field.default]


class Options(SdxlOptions):
    """Names and meanings are diffusers'; defaults change nothing."""

    seeds: list[Seed] | None = Field(
        None,
        min_length=1,
        max_length=MAX_IMAGES,
        description="one picture for each, in place of seed and num_images",
    )
    strength: Fraction | None = Field(
        None, description="how much of an image is drawn anew; default 0.8, with a mask 1"
    )
    guess_mode: bool = Field(
        False, description="ControlNets guide the conditional half alone, the deepest most"
    )
    long_prompt: Literal["truncate", "chunk"] = Field(
        "truncate",
        description="a prompt longer than the text encoder's window: cut, and told as a warning, as diffusers"
        " does it, or encoded in chunks that are laid side by side",
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
        min_length=2,
        max_length=TRAIN_TIMESTEPS + 1,
        description="falling, the last is where it ends; in place of num_inference_steps",
    )
    residual_precision: Precision = Field(
        "exact",
        description="how what ControlNets compute travels between workers: `exact`, or with loss and in fewer"
        " bytes, `float16` or `int8` per channel; refused by lora_loading.mode `exact`",
    )

    @field_validator("timesteps", "sigmas")
    @classmethod
    def _falls(cls, values: list[float] | None) -> list[float] | None:
        if values is not None and any(after >= before for before, after in pairwise(values)):
            raise ValueError("each must be less than the one before")
        return values

    @property
    def options(self) -> dict[str, Any]:
        """These fields alone, to be carried on."""
        return {name: getattr(self, name) for name in Options.model_fields}
