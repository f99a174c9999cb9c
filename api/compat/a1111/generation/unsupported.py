"""Fields and settings of A1111 that nothing here does: refused by name where an image would differ."""

from collections.abc import Mapping
from typing import Any

from api.compat.a1111.generation.fields import WITHOUT_EFFECT, Txt2ImgFields
from shared.errors import InvalidRequest
from shared.message_base import MAX_IMAGES

#: Fields that would change the image, each with the values by which it does not.
_OFF: Mapping[str, tuple[Any, ...]] = {
    "enable_hr": (False,),
    "restore_faces": (False,),
    "tiling": (False,),
    "refiner_checkpoint": ("", "None", "none"),
    "disable_extra_networks": (False,),
    "s_churn": (0,),
    "s_noise": (1,),
    "s_min_uncond": (0,),
    "token_merging_ratio": (0,),
    "token_merging_ratio_hr": (0,),
    "initial_noise_multiplier": (1,),
    "mask_round": (True,),
    "latent_mask": ("",),
    "infotext": ("",),
    "styles": ([], ""),
    "script_name": ("", "None", "none"),
    "firstpass_image": ("",),
}
#: Settings that would change the image, in the same way.
_SETTINGS_OFF: Mapping[str, tuple[Any, ...]] = {
    "sd_vae": ("", "Automatic", "None"),
    "eta_noise_seed_delta": (0,),
    "eta_ddim": (0,),
    "eta_ancestral": (1,),
    "token_merging_ratio": (0,),
    "token_merging_ratio_img2img": (0,),
    "s_min_uncond": (0,),
    "s_churn": (0,),
    "s_noise": (1,),
    "tiling": (False,),
    "face_restoration": (False,),
    "img2img_color_correction": (False,),
    "initial_noise_multiplier": (1,),
    "img2img_extra_noise": (0,),
    "sd_hypernetwork": ("", "None"),
}
#: Characters of an unknown name that a warning quotes, and how many of them are told.
_QUOTED, _TOLD = 60, 20


def check_fields(body: Mapping[str, Any], fields: Txt2ImgFields) -> list[str]:
    """Raise `InvalidRequest` for what would change the image; returns warnings of what is ignored."""
    for name, off in _OFF.items():
        if name in body and body[name] not in off:
            raise InvalidRequest(_refusal(name, body[name]), field=name)
    if fields.subseed_strength > 0:
        raise InvalidRequest("variation seeds are not supported", field="subseed_strength")
    if fields.seed_resize_from_w > 0 and fields.seed_resize_from_h > 0:
        raise InvalidRequest("seeds of another size are not supported", field="seed_resize_from_w")
    if fields.batch_size * fields.n_iter > MAX_IMAGES:
        raise InvalidRequest(f"batch_size × n_iter is more than {MAX_IMAGES}", field="n_iter")
    known = {*Txt2ImgFields.model_fields, *_OFF, *WITHOUT_EFFECT, "save_images"}
    warnings = [f"{name[:_QUOTED]!r} is unknown, and ignored" for name in body if name not in known]
    if body.get("save_images"):
        warnings.append("save_images is ignored: every image is kept for a while, none for ever")
    return warnings[:_TOLD]


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` for a setting that would change the image."""
    for name, off in _SETTINGS_OFF.items():
        value = settings.get(name)
        if value is not None and value not in off:
            raise InvalidRequest(_refusal(name, value), field=f"override_settings.{name}")


def _refusal(name: str, value: Any) -> str:
    quoted = f" {value!r}" if isinstance(value, bool | int | float) or len(repr(value)) < _QUOTED else ""
    return f"{name}{quoted} is not supported"
