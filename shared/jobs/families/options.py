"""Fields of a job that only some model families take."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict

from shared.message_base import MAX_SIDE_PX, Finite, Fraction, GuidanceScale, Prompt, StrictMessage

#: No text encoder reads more.
MAX_TEXT_TOKENS = 1024
#: Fields of `shared.jobs.options.JobOptions` that only some families take, too.
UNET_FIELDS = ("guess_mode", "clip_skip", "guidance_rescale", "long_prompt")
_Px = Annotated[int, Field(ge=0, le=MAX_SIDE_PX)]
#: (height, width) in pixels, as diffusers counts them. JSON has lists, not tuples.
Size = Annotated[tuple[_Px, _Px], Strict(False)]


def _as_number(value: Any) -> Any:
    return float(value) if isinstance(value, bool) else value


class FamilyOptions(StrictMessage):
    """Fields that only some model families take (`FamilyFacts.fields`); of a model, `/v1/models` names them.

    Texts of further encoders; of SDXL sizes, (height, width) each; of transformers what their pipelines in
    diffusers take.
    """

    prompt_2: Prompt | None = Field(None, description="for the second text encoder; default: prompt")
    prompt_3: Prompt | None = Field(None, description="for the third text encoder; default: prompt")
    negative_prompt_2: Prompt | None = Field(None, description="default: negative_prompt")
    negative_prompt_3: Prompt | None = Field(None, description="default: negative_prompt")
    original_size: Size | None = Field(None, description="default: the image's size")
    crops_coords_top_left: Size = (0, 0)
    target_size: Size | None = Field(None, description="default: the image's size")
    negative_original_size: Size | None = Field(
        None, description="with negative_target_size: of the unconditional branch"
    )
    negative_crops_coords_top_left: Size = (0, 0)
    negative_target_size: Size | None = None
    true_cfg_scale: GuidanceScale | None = Field(
        None,
        description="above 1, with a negative_prompt: guidance by a second, unconditional forward; default:"
        " the family's",
    )
    max_sequence_length: Annotated[int, Field(ge=1, le=MAX_TEXT_TOKENS)] | None = Field(
        None, description="tokens of a prompt that the large text encoder reads; default: the family's"
    )
    shift: Annotated[Finite, Field(gt=0, le=100)] | None = Field(
        None, description="of the sigmas of flow matching, in place of the scheduler config's"
    )
    mu: Annotated[Finite, Field(ge=-10, le=10)] | None = Field(
        None, description="of schedulers that shift dynamically, in place of the one by the image's size"
    )
    cfg_normalization: Annotated[Finite, Field(ge=0, le=100), BeforeValidator(_as_number)] = Field(
        0.0,
        description="how many times the conditional prediction's norm the guided one may have; 0: any; false"
        " and true, as diffusers has it, are 0 and 1",
    )
    cfg_truncation: Fraction = Field(
        1.0, description="share of the way from noise to image after which there is no guidance"
    )


def set_fields(message: StrictMessage, names: Iterable[str]) -> list[str]:
    """Those of the fields ``names`` whose value is not their default."""
    fields = type(message).model_fields
    return [name for name in names if getattr(message, name) != fields[name].default]
