"""What A1111's generation calls take, as far as it means something here.

Fields are read as FastAPI reads them there: ``"20"`` and ``20.0`` are 20, ``null`` is a field left out. What
is the model's own here by default (size, steps, CFG scale, sampler) is ``None``. Source:
AUTOMATIC1111/stable-diffusion-webui, ``modules/processing.py`` and ``modules/api/models.py``.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from shared.message_base import Finite

#: In pixels; A1111's web page has the same limit.
_Blur = Annotated[int, Field(ge=0, le=64)]


class Txt2ImgFields(BaseModel):
    """Of ``txt2img``, and of both calls."""

    # An error's text is logged: it must not show what is wrong, which may be a prompt.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    batch_size: Annotated[int, Field(ge=1)] = 1
    n_iter: Annotated[int, Field(ge=1)] = 1
    steps: Annotated[int, Field(ge=1)] | None = None
    cfg_scale: Finite | None = None
    distilled_cfg_scale: Finite | None = None
    width: int | None = None
    height: int | None = None
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    eta: Finite | None = None
    subseed: int = -1
    subseed_strength: Finite = 0
    seed_resize_from_w: int = -1
    seed_resize_from_h: int = -1
    override_settings: dict[str, Any] = {}
    alwayson_scripts: dict[str, Any] = {}
    send_images: bool = True


class Img2ImgFields(Txt2ImgFields):
    """Of ``img2img``."""

    init_images: list[str] | None = None
    resize_mode: int = 0
    denoising_strength: Annotated[Finite, Field(ge=0, le=1)] = 0.75
    include_init_images: bool = False
    mask: str | None = None
    mask_blur: _Blur | None = None
    mask_blur_x: _Blur = 4
    mask_blur_y: _Blur = 4
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: Annotated[int, Field(ge=0)] = 0
    inpainting_mask_invert: int = 0


#: Nothing here depends on them as long as what they belong to is off, or they change no image at all.
WITHOUT_EFFECT = frozenset(
    {"hr_scale", "hr_upscaler", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y", "hr_checkpoint_name"}
    | {"hr_sampler_name", "hr_scheduler", "hr_prompt", "hr_negative_prompt", "hr_cfg", "hr_distilled_cfg"}
    | {"hr_additional_modules", "firstphase_width", "firstphase_height", "firstpass_image"}
    | {"refiner_switch_at", "s_tmin", "s_tmax", "script_args", "image_cfg_scale", "comments"}
    | {"do_not_save_samples", "do_not_save_grid", "override_settings_restore_afterwards", "force_task_id"}
    | {"sd_model_name", "seed_enable_extras", "do_not_reload_embeddings"}
    | {"use_deprecated_controlnet", *Img2ImgFields.model_fields}
)


def known_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a body that are not left out."""
    return {name: value for name, value in body.items() if value is not None}
