"""Sizes of OpenAI's images API for models of transformer families, whose sides are multiples of 16."""

from pathlib import Path
from typing import Any

import pytest

from api.compat.openai.fields import translate
from api.compat.openai.models import ModelNames
from api.schemas.job_request import JobRequest
from api.services import Services
from shared.errors import InvalidRequest
from shared.jobs.spec import JobSpec
from tests.api.services import base64_of, image_file, resolved
from tests.api.transformer_catalog import with_transformers


@pytest.fixture
def transformers(services: Services, tmp_path: Path) -> Services:
    return with_transformers(services, tmp_path)


def job(services: Services, images: dict[str, str] | None = None, **fields: Any) -> JobSpec:
    """The job of a call."""
    names = ModelNames(services.catalog, services.settings.openai_models)
    request = translate({"prompt": "a cat", **fields}, images or {}, names).submission.root
    assert isinstance(request, JobRequest)
    return resolved(request, services)


@pytest.mark.parametrize(
    "size",
    ["256x256", "512x512", "1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792"],
)
@pytest.mark.parametrize("model", ["flux", "qwen", "z"])
def test_the_sizes_that_clients_know_are_taken(transformers: Services, model: str, size: str) -> None:
    spec = job(transformers, model=model, size=size)
    assert f"{spec.width}x{spec.height}" == size


def test_auto_is_the_models_own_size(transformers: Services) -> None:
    spec = job(transformers, model="flux", size="auto")
    assert (spec.width, spec.height) == (None, None)


@pytest.mark.parametrize(
    ("model", "size", "field", "words"),
    [
        ("flux", "1000x1024", "width", "width is 1000; of Flux.1 it must be a multiple of 16"),
        ("flux", "1024x1000", "height", "height is 1000; of Flux.1 it must be a multiple of 16"),
        ("sd3", "1792x1024", "width", "the limit is 1536"),
    ],
)
def test_a_size_that_the_model_cannot_have_is_refused(
    transformers: Services, model: str, size: str, field: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        job(transformers, model=model, size=size)
    assert refused.value.field == field


def test_an_image_to_edit_decides_the_size_in_steps_of_16(transformers: Services) -> None:
    spec = job(transformers, {"image": base64_of(image_file((100, 72)))}, model="flux")
    assert (spec.width, spec.height) == (96, 64)
