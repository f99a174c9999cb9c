"""A1111's settings ("options"): a caller reads and sets them, and its later calls go by them.

Each API key has its own; calls of others are not changed. With authentication off everybody is one caller.
"""

from collections.abc import Mapping
from typing import Any

from api.auth.principal import current_principal
from api.compat.a1111.generation.settings import GenerationSettings
from api.compat.a1111.generation.unsupported import check_settings
from api.compat.a1111.models import find_model
from api.services import Services
from shared.errors import InvalidRequest
from shared.image_files.formats import DEFAULT_QUALITY, PNG
from shared.jobs.options import MAX_CONTROLNETS

CHECKPOINT = "sd_model_checkpoint"
#: What clients read and show, with the values that stand for what happens here.
DEFAULTS: Mapping[str, Any] = {
    CHECKPOINT: "",
    "sd_checkpoint_hash": "",
    "sd_vae": "Automatic",
    "sd_hypernetwork": "None",
    "CLIP_stop_at_last_layers": 1,
    "samples_format": PNG,
    "samples_save": False,
    "grid_save": False,
    "return_grid": False,
    "jpeg_quality": DEFAULT_QUALITY,
    "enable_pnginfo": True,
    "add_model_hash_to_info": True,
    "do_not_add_watermark": True,
    "live_previews_enable": True,
    "show_progress_every_n_steps": 1,
    "face_restoration": False,
    "img2img_color_correction": False,
    "initial_noise_multiplier": 1.0,
    "img2img_extra_noise": 0.0,
    "eta_ddim": 0.0,
    "eta_ancestral": 1.0,
    "eta_noise_seed_delta": 0,
    "s_churn": 0.0,
    "s_noise": 1.0,
    "s_min_uncond": 0.0,
    "token_merging_ratio": 0.0,
    "token_merging_ratio_img2img": 0.0,
    "control_net_unit_count": MAX_CONTROLNETS,
}


def read_options(services: Services) -> dict[str, Any]:
    """All options, as they are for the caller of the present request."""
    return {**DEFAULTS, CHECKPOINT: services.catalog.default_model, **sticky_options(services)}


def sticky_options(services: Services) -> dict[str, Any]:
    """The options that the caller of the present request has set, but for a model that is gone."""
    found = services.caller_options.read(current_principal())
    if found.get(CHECKPOINT, services.catalog.default_model) not in services.catalog.models:
        del found[CHECKPOINT]
    return found


def set_options(given: Mapping[str, Any], services: Services) -> None:
    """Set options of the caller of the present request; unknown ones are ignored: clients send all back.

    Raises `NotFound` for an unknown model, pydantic's `ValidationError` for a value, and `InvalidRequest` for
    one that would change the image, and that nothing here does.
    """
    given = {name: value for name, value in given.items() if value is not None}
    try:
        check_settings(given)
    except InvalidRequest as error:
        raise InvalidRequest(str(error), field=(error.field or "").rpartition(".")[2]) from None
    settings = GenerationSettings.model_validate(given)
    options = settings.model_dump(include=given.keys() & GenerationSettings.model_fields.keys())
    if CHECKPOINT in options:
        options[CHECKPOINT] = find_model(settings.sd_model_checkpoint, services.catalog)
    services.caller_options.update(current_principal(), options)
