import json
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.catalogue import LoadOptions, ModelEntry
from shared.errors import ModelFailed
from tests.checkpoints import save_checkpoint
from tests.tiny_models import make_pipeline
from workers.unet.loading import load_entry, load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``sd1`` and ``sdxl`` as folders, and ``sd1`` as one file and as an fp16 variant."""
    path = tmp_path_factory.mktemp("models")
    pipe = make_pipeline("sd1")
    pipe.save_pretrained(path / "sd1")
    pipe.save_pretrained(path / "variant", variant="fp16")
    save_checkpoint(pipe, path / "sd1.safetensors")
    make_pipeline("sdxl").save_pretrained(path / "sdxl")
    return path


def load(source: Path, **options: Any) -> Any:
    return load_model("m", str(source), "float32", "cpu", LoadOptions(**options))


def test_a_folder_a_single_file_and_a_variant_hold_the_same_weights(folder: Path) -> None:
    plain = load(folder / "sd1").sha256
    assert load(folder / "variant", variant="fp16").sha256 == plain
    entry = ModelEntry(source="sd1.safetensors", config="sd1")
    assert load_entry("m", entry, folder / "catalogue.toml", "cpu").sha256 == plain


def test_a_model_is_of_the_family_that_its_own_files_say(folder: Path) -> None:
    assert not load(folder / "sd1").is_sdxl
    model = load(folder / "sdxl")
    assert model.is_sdxl
    assert set(model.text_encoders) == {"text_encoder", "text_encoder_2"}


def test_only_sdxls_vae_is_kept_in_single_precision_as_diffusers_decodes_with_it(folder: Path) -> None:
    for name, kept in (("sd1", torch.float16), ("sdxl", torch.float32)):
        model = load_model("m", str(folder / name), "float16", "cpu")
        assert (model.pipe.unet.dtype, model.pipe.vae.dtype) == (torch.float16, kept)


def test_switches_are_turned_and_told_for_the_receipt(folder: Path) -> None:
    model = load(folder / "sd1", attention_slicing="max", vae_tiling=True)
    assert model.switches == {"attention_slicing": "max", "vae_tiling": True}
    assert model.pipe.vae.use_tiling
    assert not model.pipe.vae.use_slicing
    kinds = {type(processor).__name__ for processor in model.pipe.unet.attn_processors.values()}
    assert kinds == {"SlicedAttnProcessor"}


def test_a_variant_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ModelFailed, match=r"'m'.*bf16"):
        load(folder / "sd1", variant="bf16")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match=r"'m'.*no diffusers folder: it has no model_index\.json"):
        load(tmp_path)


def test_a_model_of_another_kind_is_refused_by_its_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelFailed, match=r"'m'.*is a Flux: that family is not served"):
        load(tmp_path)


def test_a_refiner_is_refused(tmp_path: Path) -> None:
    pipe = make_pipeline("sdxl")
    pipe.register_modules(text_encoder=None, tokenizer=None)
    pipe.save_pretrained(tmp_path)
    with pytest.raises(ModelFailed, match="refiners are not served"):
        load(tmp_path)


def test_a_file_that_is_cut_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes((folder / "sd1.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelFailed, match=r"cut\.safetensors"):
        load(path, config=str(folder / "sd1"))
