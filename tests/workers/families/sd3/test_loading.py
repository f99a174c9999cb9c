"""What is loaded of a folder of Stable Diffusion 3, and what is refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.catalog.entries import LoadOptions
from shared.errors import ModelFailed
from shared.jobs.spec import JobSpec
from tests.tiny_transformers import make_sd3, make_sd3_controlnet
from tests.workers.unet.specs import spec as make_spec
from workers.families.base_family import ModelSource
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import load_controlnet
from workers.families.sd3.loading import SD3_FAMILY
from workers.runtime.weights.loaded import weights_sha256


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """By whether there is a T5."""
    found = {}
    for with_t5 in (True, False):
        found[with_t5] = tmp_path_factory.mktemp("sd3")
        make_sd3(with_t5=with_t5).save_pretrained(found[with_t5])
    return found


def job() -> JobSpec:
    return make_spec(model="sd3", prompt="a red cat", negative_prompt="a house", guidance_scale=4.0)


@pytest.mark.parametrize("with_t5", [True, False])
def test_text_encoders_that_are_loaded_apart_say_the_same(folders: dict[bool, Path], with_t5: bool) -> None:
    path = str(folders[with_t5])
    whole = load_model("sd3", path, "float32", "cpu")
    apart = load_model("sd3", path, "float32", "cpu", without_text_encoders=True)
    assert apart.apart_bytes > 0
    assert apart.text_encoders_sha256 == whole.text_encoders_sha256
    source = ModelSource(name="sd3", path=path, dtype=torch.float32, device="cpu", options=LoadOptions())
    weights = {part: SD3_FAMILY.load_text_encoder(source, part) for part in apart.apart}
    with apart.with_text_encoders(weights):
        encoded = apart.encode_texts(job())
    expected = whole.encode_texts(job())
    assert encoded.keys() == expected.keys()
    assert all(torch.equal(encoded[name], expected[name]) for name in expected)
    t5 = expected["embeddings"][:, 32:]  # after CLIP's tokens
    assert bool(t5.any()) == with_t5


def changed(folder: Path, copy: Path, part: str, **changes: Any) -> Path:
    """A copy of a model of which the config of a part says otherwise."""
    shutil.copytree(folder, copy)
    path = copy / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return copy


def test_a_t5_that_is_listed_and_not_there_is_refused_by_name(
    folders: dict[bool, Path], tmp_path: Path
) -> None:
    copy = changed(folders[True], tmp_path / "copy", "vae")
    shutil.rmtree(copy / "text_encoder_3")
    with pytest.raises(ModelFailed, match=r"it has no text_encoder_3/config\.json"):
        load_model("sd3", str(copy), "float32", "cpu")


def test_a_vae_that_shifts_nothing_is_refused_by_name(folders: dict[bool, Path], tmp_path: Path) -> None:
    copy = changed(folders[False], tmp_path / "copy", "vae", shift_factor=None)
    with pytest.raises(ModelFailed, match="its VAE has no shift_factor"):
        load_model("sd3", str(copy), "float32", "cpu")


def test_a_controlnets_hash_is_that_of_its_base_models_layer_too(
    folders: dict[bool, Path], tmp_path: Path
) -> None:
    control_net = make_sd3_controlnet("large")
    control_net.save_pretrained(tmp_path)
    loaded = load_controlnet("net", str(tmp_path), "float32", "cpu", base=str(folders[False]))
    assert loaded.sha256 != weights_sha256({"controlnet": control_net})
    control_net.pos_embed = make_sd3(with_t5=False).transformer.pos_embed
    assert loaded.sha256 == weights_sha256({"controlnet": control_net})
