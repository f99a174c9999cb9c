from dataclasses import replace
from pathlib import Path

import pytest

from api.schemas.job_request import JobRequest
from api.services import Services
from shared.catalog.entries import Catalog
from shared.errors import InvalidRequest
from shared.families.registry import registered
from shared.families.unet import SD1
from tests.api.services import base64_of, image_file, resolved

#: A family whose sides are multiples of 16.
COARSE = replace(SD1, name="coarse", label="Coarse", denoiser="transformer", size_multiple=16)


@pytest.fixture
def coarse(services: Services, tmp_path: Path) -> Services:
    """A catalog of one model of `COARSE`."""
    (tmp_path / "base/transformer").mkdir(parents=True)
    (tmp_path / "base/transformer/config.json").write_text("{}")
    tables = {"default_model": "m", "models": {"m": {"source": "base", "width": 64, "height": 64}}}
    settings = services.settings.model_copy(update={"catalog": tmp_path / "catalog.toml"})
    return replace(services, catalog=Catalog.model_validate(tables), settings=settings)


@pytest.mark.parametrize("side", ["width", "height"])
def test_a_side_that_is_no_multiple_of_the_familys_is_refused(coarse: Services, side: str) -> None:
    with registered(COARSE), pytest.raises(InvalidRequest) as refused:
        resolved(JobRequest.model_validate({"prompt": "a cat", side: 72}), coarse)
    assert refused.value.field == side
    assert str(refused.value) == f"{side} is 72; of Coarse it must be a multiple of 16"
    with registered(COARSE):
        spec = resolved(JobRequest.model_validate({"prompt": "a cat", side: 80}), coarse)
    assert getattr(spec, side) == 80


def test_a_syntax_that_the_familys_text_encoders_cannot_follow_is_refused(coarse: Services) -> None:
    request = JobRequest(prompt="a (cat)", prompt_syntax="a1111")
    plain = replace(COARSE, prompt_syntaxes=frozenset({"plain"}))
    with registered(plain), pytest.raises(InvalidRequest) as refused:
        resolved(request, coarse)
    assert refused.value.field == "prompt_syntax"
    known = "SDXL and Stable Diffusion 1 or 2"
    assert str(refused.value) == f"prompt_syntax 'a1111' is known to {known}; model 'm' is Coarse"
    with registered(COARSE):
        assert resolved(request, coarse).prompt_syntax == "a1111"


def test_the_size_of_an_image_is_rounded_down_to_the_familys_multiple(coarse: Services) -> None:
    image = base64_of(image_file((72, 50)))
    with registered(COARSE):
        spec = resolved(JobRequest(prompt="a cat", image=image), coarse)
    assert (spec.width, spec.height) == (64, 48)
