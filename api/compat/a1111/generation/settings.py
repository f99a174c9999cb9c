"""Settings of A1111 that a call overrides, or that were set before, and what they mean for a job."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from api.compat.a1111.models import find_model
from shared.catalog.entries import Catalog
from shared.image_files.formats import OUTPUT_FORMATS, PNG

#: Names of A1111's for file formats.
_FORMATS = {"jpg": "jpeg"}
_FIELD = "override_settings"
#: Characters of an unknown name that a warning quotes, and how many of them are told.
_QUOTED, _TOLD = 60, 20
#: They change no image here, or are refused where they would.
_WITHOUT_EFFECT = frozenset(
    {"sd_vae", "eta_noise_seed_delta", "eta_ddim", "eta_ancestral", "token_merging_ratio", "s_min_uncond"}
    | {"token_merging_ratio_img2img", "s_churn", "s_noise", "tiling", "face_restoration", "sd_hypernetwork"}
    | {"img2img_color_correction", "initial_noise_multiplier", "img2img_extra_noise", "return_grid"}
    | {"sd_vae_overrides_per_model_preferences", "sd_checkpoint_hash", "control_net_no_detectmap"}
    | {
        "live_previews_enable",
        "show_progress_every_n_steps",
        "samples_save",
        "grid_save",
        "save_images_add_number",
    }
    | {
        "do_not_add_watermark",
        "add_model_hash_to_info",
        "enable_pnginfo",
        "return_mask",
        "return_mask_composite",
    }
)


class GenerationSettings(BaseModel):
    """Settings that mean something here, by A1111's names."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    sd_model_checkpoint: str = ""
    CLIP_stop_at_last_layers: Annotated[int, Field(ge=0, le=64)] = 1
    samples_format: str = PNG
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] | None = None

    @field_validator("samples_format")
    @classmethod
    def _is_known(cls, name: str) -> str:
        found = _FORMATS.get(name.lower(), name.lower())
        if found not in OUTPUT_FORMATS:
            raise ValueError(f"known are {', '.join(OUTPUT_FORMATS)}")
        return found

    def job_fields(self, catalog: Catalog) -> dict[str, Any]:
        """Fields of a job; raises `NotFound` for an unknown model."""
        fields: dict[str, Any] = {
            "model": find_model(self.sd_model_checkpoint, catalog),
            "output_format": self.samples_format,
        }
        if self.CLIP_stop_at_last_layers > 1:  # 1 is the last layer, and 0 of them are skipped
            fields["clip_skip"] = self.CLIP_stop_at_last_layers - 1
        if self.samples_format != PNG and self.jpeg_quality is not None:
            fields["output_quality"] = self.jpeg_quality
        return fields


class ReadSettings(NamedTuple):
    """Settings of a call, and the sentences on those that are ignored."""

    settings: GenerationSettings
    warnings: list[str]


def read_settings(sticky: Mapping[str, Any], overrides: Mapping[str, Any]) -> ReadSettings:
    """The settings of a call: what was set before, and over it what the call itself says.

    Raises pydantic's `ValidationError`.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    settings = GenerationSettings.model_validate({**sticky, **given})
    known = {*GenerationSettings.model_fields, *_WITHOUT_EFFECT}
    warnings = [f"{_FIELD}.{name[:_QUOTED]} is ignored" for name in given if name not in known]
    return ReadSettings(settings, warnings[:_TOLD])
