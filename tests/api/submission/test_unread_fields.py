"""Fields of guidance that a job of a UNet does not read are told, and no others."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.schemas.job_request import JobRequest
from api.services import Services
from api.submission.unread_fields import warn_of_unread
from shared.catalog.entries import Catalog, ModelEntry

CONFIG = {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}
UNGUIDED = "guidance_rescale is ignored: the job has no guidance, which begins above a guidance_scale of 1"
DISTILLED = "guidance_rescale is ignored: model 'm' has guidance distilled in, and no unconditional branch"


def warnings(
    services: Services, folder: Path, config: dict[str, Any], *, own_scale: float = 7.5, **fields: Any
) -> list[str]:
    """Those of a job of a model ``m``, whose UNet has that config, and whose catalog entry that scale."""
    (folder / "m/unet").mkdir(parents=True)
    (folder / "m/unet/config.json").write_text(json.dumps(CONFIG | config))
    catalog = Catalog(default_model="m", models={"m": ModelEntry(source="m", guidance_scale=own_scale)})
    settings = services.settings.model_copy(update={"catalog": folder / "catalog.toml"})
    request = JobRequest.model_validate({"prompt": "a cat", **fields})
    return warn_of_unread(request, replace(services, catalog=catalog, settings=settings), "m")


@pytest.mark.parametrize(
    ("own_scale", "fields", "told"),
    [
        (7.5, {"guidance_rescale": 0.7, "guidance_scale": 0.0}, [UNGUIDED]),
        (7.5, {"guidance_rescale": 0.7, "guidance_scale": 1.0}, [UNGUIDED]),
        (7.5, {"guidance_rescale": 0.7, "guidance_scale": 1.5}, []),
        (7.5, {"guidance_rescale": 0.7}, []),
        (0.0, {"guidance_rescale": 0.7}, [UNGUIDED]),
        (0.0, {"guidance_rescale": 0.7, "guidance_scale": 2.0}, []),
        (7.5, {"guidance_rescale": 0.0, "guidance_scale": 1.0}, []),
        (0.0, {}, []),
    ],
)
def test_a_rescale_of_a_guidance_that_a_job_has_not_is_told(
    services: Services, tmp_path: Path, own_scale: float, fields: dict[str, Any], told: list[str]
) -> None:
    assert warnings(services, tmp_path, {}, own_scale=own_scale, **fields) == told


def test_a_unet_with_guidance_distilled_in_rescales_none(services: Services, tmp_path: Path) -> None:
    config = {"time_cond_proj_dim": 256}
    assert warnings(services, tmp_path, config, guidance_rescale=0.7, guidance_scale=8.0) == [DISTILLED]
