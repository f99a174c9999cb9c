import json
from pathlib import Path
from typing import Any

import pytest

from shared.catalog.entries import Catalog
from shared.catalog.model_families import ModelFamilies

SDXL = {
    "addition_embed_type": "text_time",
    "cross_attention_dim": 2048,
    "block_out_channels": [320, 640, 1280],
}
SD1 = {"cross_attention_dim": 768, "block_out_channels": [320, 640, 1280, 1280]}


def families(folder: Path, model: dict[str, Any], controlnet: dict[str, Any]) -> ModelFamilies:
    for path, config in (("base/unet", model), ("controlnet", controlnet)):
        (folder / path).mkdir(parents=True)
        (folder / path / "config.json").write_text(json.dumps(config))
    catalog = Catalog.model_validate(
        {
            "default_model": "model",
            "models": {"model": {"source": "base"}, "hub": {"source": "hub:org/base"}},
            "controlnets": {
                "controlnet": {"source": "controlnet", "model": "model"},
                "other": {"source": "controlnet", "model": "hub"},
                "hub-controlnet": {"source": "hub:org/net", "model": "model"},
            },
        }
    )
    return ModelFamilies(folder / "catalog.toml", catalog)


@pytest.mark.parametrize("config", [SDXL, SD1])
def test_a_controlnet_of_its_models_family_fits(tmp_path: Path, config: dict[str, Any]) -> None:
    assert families(tmp_path, config, config).incompatibility("controlnet", "model") is None


@pytest.mark.parametrize(
    ("controlnet", "expected"),
    [
        (SDXL, "SDXL, cross-attention width 2048"),
        (SD1 | {"cross_attention_dim": 1024}, "cross-attention width 1024"),
        (SD1 | {"block_out_channels": [32, 64]}, "channels 32/64"),
    ],
)
def test_a_controlnet_of_another_family_or_width_is_refused_naming_both(
    tmp_path: Path, controlnet: dict[str, Any], expected: str
) -> None:
    why = families(tmp_path, SD1, controlnet).incompatibility("controlnet", "model")
    assert why is not None
    for word in ("'controlnet'", "'model'", expected, "cross-attention width 768"):
        assert word in why


@pytest.mark.parametrize(
    ("channels", "sees"), [({}, False), ({"in_channels": 9}, True), ({"in_channels": 8}, False)]
)
def test_a_model_that_was_trained_to_inpaint_is_known_by_its_channels(
    tmp_path: Path, channels: dict[str, int], sees: bool
) -> None:
    assert families(tmp_path, SD1 | channels, SD1).is_inpainting("model") == sees


@pytest.mark.parametrize(
    "config",
    [
        {"block_out_channels": None},
        {"block_out_channels": 320},
        {"out_channels": None},
        {"sample_size": "64"},
        {"sample_size": [64]},
        {"sample_size": {}},
    ],
    ids=str,
)
def test_a_config_of_another_form_raises_nothing(tmp_path: Path, config: dict[str, Any]) -> None:
    known = families(tmp_path, SD1 | config, SD1 | config)
    (tmp_path / "base/vae").mkdir()
    (tmp_path / "base/vae/config.json").write_text('{"block_out_channels": [1, 2, 3, 4]}')
    assert known.default_size("model") is None
    assert known.is_inpainting("model") is False
    assert known.incompatibility("controlnet", "model") is None


def test_a_config_that_is_nested_without_end_is_none(tmp_path: Path) -> None:
    known = families(tmp_path, SD1, SD1)
    (tmp_path / "base/unet/config.json").write_text("[" * 100_000)
    assert known.signature("model") is None


def test_nothing_is_known_of_what_is_not_in_a_folder_here(tmp_path: Path) -> None:
    known = families(tmp_path, SD1, SDXL)
    assert known.signature("hub") is None
    assert known.is_inpainting("hub") is None
    assert known.controlnet("hub-controlnet") is None
    assert known.controlnet_modes("hub-controlnet") is None
    assert known.incompatibility("other", "hub") is None
    assert known.incompatibility("hub-controlnet", "model") is None


@pytest.mark.parametrize(
    ("config", "kinds", "global_pooling"),
    [
        ({"_class_name": "ControlNetModel"}, 0, False),
        ({"_class_name": "ControlNetUnionModel", "num_control_type": 8}, 8, False),
        ({"global_pool_conditions": True}, 0, True),
    ],
)
def test_a_union_and_a_controlnet_that_pools_are_known_by_their_config(
    tmp_path: Path, config: dict[str, Any], kinds: int, global_pooling: bool
) -> None:
    controlnet = families(tmp_path, SD1, SD1 | config).controlnet("controlnet")
    assert controlnet is not None
    assert (controlnet.control_types, controlnet.global_pooling) == (kinds, global_pooling)


def test_of_a_model_that_has_left_the_catalog_nothing_is_known(tmp_path: Path) -> None:
    known = families(tmp_path, SD1, SD1)
    assert known.facts("model") is not None
    questions = (known.facts, known.family, known.signature, known.denoiser_config, known.scheduler_config)
    questions += (known.is_inpainting, known.default_size, known.largest_side, known.usual_size)
    assert [question("gone") for question in questions] == [None] * len(questions)
    assert known.text_encoder_configs("gone") == {}
    assert (known.size_multiple("gone"), known.image_multiple("gone")) == (
        known.size_multiple("hub"), known.image_multiple("hub")
    )  # fmt: skip
