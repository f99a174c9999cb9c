"""Which model of the catalog a name means, and settings that name none."""

from dataclasses import replace

import pytest

from api.app import create_app
from api.compat.openai.models import ModelNames, UnknownModel
from api.services import Services
from shared.catalog.catalog import read_catalog
from shared.catalog.entries import Catalog
from shared.errors import InvalidSetting
from shared.settings import Settings


@pytest.fixture
def catalog() -> Catalog:
    return read_catalog(Settings().catalog)


def test_names_of_openai_s_models_mean_the_default_model_unless_a_setting_says_otherwise(
    catalog: Catalog,
) -> None:
    names = ModelNames(catalog, ["sd-turbo=emoji-sd", "dall-e-2=emoji-sd"])
    assert names.find(None) == names.find("emoji-sd") == ("emoji-sd", "")
    for name in (
        "gpt-image-1",
        "gpt-image-1-mini",
        "chatgpt-image-latest",
        "DALL-E-3",
        "sd-turbo",
        "dall-e-2",
    ):
        assert names.find(name) == ("emoji-sd", f"model {name} is served by emoji-sd")
    with pytest.raises(
        UnknownModel, match="there is no model 'gpt-4'; known are emoji-sd, sd-turbo, dall-e-2"
    ):
        names.find("gpt-4")


@pytest.mark.parametrize(
    ("pair", "hint"),
    [("dall-e-3=emoji-xl", "did you mean emoji-sd?"), ("dall-e-3=flux", "there are emoji-sd")],
)
def test_a_setting_that_names_no_model_of_the_catalog_stops_the_start(
    pair: str, hint: str, services: Services
) -> None:
    settings = services.settings.model_copy(update={"openai_models": (pair,)})
    with pytest.raises(InvalidSetting) as refused:
        create_app(replace(services, settings=settings))
    assert str(refused.value).startswith(f"SWIFT_OPENAI_MODELS: {pair}: ")
    assert hint in str(refused.value)
