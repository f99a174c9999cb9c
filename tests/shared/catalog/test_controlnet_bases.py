"""A ControlNet is loaded once: base models that would need it to be another are refused, naming both."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.catalog.entries import Catalog
from shared.catalog.model_families import ModelFamilies
from shared.errors import ModelFailed
from shared.settings import Settings
from workers.families import load_controlnet

FLUX = {"_class_name": "FluxTransformer2DModel", "num_layers": 19, "num_single_layers": 38}
FLUX_CONTROLNET = {"_class_name": "FluxControlNetModel", "num_layers": 5, "num_single_layers": 10}
SD3 = {"_class_name": "SD3Transformer2DModel", "num_layers": 38}
SD3_CONTROLNET = {"_class_name": "SD3ControlNetModel", "num_layers": 19}
Z_IMAGE = {"_class_name": "ZImageTransformer2DModel"}
Z_IMAGE_CONTROLNET = {"_class_name": "ZImageControlNetModel", "control_layers_places": [0, 2]}


def serve(folder: Path, first: Any, second: Any, control: Any, **entries: Any) -> tuple[Catalog, Settings]:
    """A catalog of two models and a ControlNet of both."""
    for path, config in (("a/transformer", first), ("b/transformer", second), ("edge", control)):
        (folder / path).mkdir(parents=True)
        (folder / path / "config.json").write_text(json.dumps(config))
    controlnet = {"source": "edge", "model": ["a", "b"]} | entries.get("edge", {})
    models = {name: {"source": name} | entries.get(name, {}) for name in ("a", "b")}
    catalog = {"default_model": "a", "models": models, "controlnets": {"edge": controlnet}}
    return Catalog.model_validate(catalog), Settings(catalog=folder / "catalog.toml")


def why_not(catalog: Catalog, settings: Settings) -> str | None:
    return ModelFamilies(settings.catalog, catalog).incompatibility("edge", "b")


def test_models_that_read_other_residuals_are_refused_at_submit_and_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(tmp_path, FLUX, FLUX | {"num_layers": 8}, FLUX_CONTROLNET)
    why = why_not(*served)
    assert why is not None
    for word in ("'a'", "'b'", "'edge'", "own entry"):
        assert word in why
    monkeypatch.setattr(load_controlnet, "check_controlnet_entry", lambda *_: None)  # there are no weights
    with pytest.raises(ModelFailed, match="own entry"):
        load_controlnet.check_controlnet(*served, "edge")


def test_models_that_read_the_same_residuals_share_a_controlnet(tmp_path: Path) -> None:
    assert why_not(*serve(tmp_path, FLUX, FLUX | {"guidance_embeds": True}, FLUX_CONTROLNET)) is None


@pytest.mark.parametrize(("own", "sources", "fits"), [
    (True, ("a", "b"), True),
    (False, ("a", "b"), False),
    (False, ("a", "a"), True),
])  # fmt: skip
def test_a_controlnet_that_keeps_a_layer_of_its_base_model_guides_no_other(
    tmp_path: Path, own: bool, sources: tuple[str, str], fits: bool
) -> None:
    entries = {name: {"source": source} for name, source in zip("ab", sources, strict=True)}
    why = why_not(*serve(tmp_path, SD3, SD3, SD3_CONTROLNET | {"use_pos_embed": own}, **entries))
    assert why is None if fits else "own entry" in str(why)


@pytest.mark.parametrize(
    ("base", "control_net", "fits"),
    [(Z_IMAGE, Z_IMAGE_CONTROLNET, False), (FLUX, FLUX_CONTROLNET, True)],
    ids=["shares layers", "shares none"],
)
def test_a_controlnet_that_shares_layers_with_its_models_has_their_dtype(
    tmp_path: Path, base: Any, control_net: Any, fits: bool
) -> None:
    why = why_not(*serve(tmp_path, base, base, control_net, edge={"dtype": "bfloat16"}))
    if fits:
        assert why is None
    else:
        assert "is of bfloat16, its model 'b', whose layers it uses, of float32" in str(why)
