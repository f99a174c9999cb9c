"""What a worker has loaded computes to the bits of what diffusers loads from the same files.

`torch.matmul` copies what is not contiguous if the weights require a gradient, also where none is computed,
and calls another kernel then: diffusers' weights do, so ours do.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import ZImageControlNetModel

from infra.tiny_models.mixed_catalog import MODELS, MixedCatalog, controlnet_of, write_mixed_catalog
from shared.catalog.catalog import read_catalog
from shared.settings import Settings
from tests.workers.families.layouts import layout
from tests.workers.unet.specs import spec
from workers.families.base_controlnet import ControlNet
from workers.families.load_base_model import load_entry, load_entry_text_encoder
from workers.families.load_controlnet import load_controlnet
from workers.runtime.weights.hash_cache import HashCache


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> MixedCatalog:
    return write_mixed_catalog(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_layout_and_the_bits_of_what_diffusers_loads(
    catalog: MixedCatalog, name: str
) -> None:
    entry = read_catalog(catalog.path, Settings()).models[name]
    ours = load_entry(name, entry, catalog.path, "cpu")
    theirs = diffusers.DiffusionPipeline.from_pretrained(catalog.models[name], dtype=torch.float32)
    for part, module in ours.parts.items():
        assert layout(module) == layout(getattr(theirs, part))
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    frames = pixels.unsqueeze(2) if name == "tiny-qwen-image" else pixels  # of a video of one
    with torch.inference_mode():
        latents = ours.parts["vae"].encode(frames).latent_dist.mean
        decoded = ours.parts["vae"].decode(latents).sample
    with torch.no_grad():
        assert torch.equal(latents, theirs.vae.encode(frames).latent_dist.mean)
        assert torch.equal(decoded, theirs.vae.decode(latents.clone()).sample)


@pytest.mark.parametrize("name", MODELS)
def test_text_encoders_that_are_loaded_apart_have_the_layout_of_what_diffusers_loads(
    catalog: MixedCatalog, name: str, tmp_path: Path
) -> None:
    entry, hashes = read_catalog(catalog.path, Settings()).models[name], HashCache(tmp_path)
    theirs = diffusers.DiffusionPipeline.from_pretrained(catalog.models[name], dtype=torch.float32)
    for _ in range(2):  # first they are read to be hashed, and then not at all
        ours = load_entry(name, entry, catalog.path, "cpu", hashes, without_text_encoders=True)
        weights = {
            part: load_entry_text_encoder(name, part, entry, catalog.path, "cpu", hashes)
            for part in ours.apart
        }
        with ours.with_text_encoders(weights):
            for part in weights:
                assert layout(ours.parts[part]) == layout(getattr(theirs, part))


def load_both(catalog: MixedCatalog, name: str) -> tuple[ControlNet, Any]:
    """The ControlNet of a model, here and by diffusers."""
    folder, base = catalog.controlnets[name], str(catalog.models[name].resolve())
    kind = json.loads((Path(folder) / "config.json").read_text())["_class_name"]
    theirs = getattr(diffusers, kind).from_pretrained(folder, dtype=torch.float32)
    return load_controlnet(controlnet_of(name), str(folder), "float32", "cpu", base=base), theirs


@pytest.mark.parametrize("name", [name for name in MODELS if name != "tiny-z-image"])
def test_a_controlnet_has_the_layout_of_what_diffusers_loads(catalog: MixedCatalog, name: str) -> None:
    ours, theirs = load_both(catalog, name)
    assert layout(ours.model) == layout(theirs)


def test_a_controlnet_that_uses_layers_of_its_base_model_has_the_layout_of_both(
    catalog: MixedCatalog,
) -> None:
    ours, theirs = load_both(catalog, "tiny-z-image")
    base = diffusers.ZImagePipeline.from_pretrained(catalog.models["tiny-z-image"], dtype=torch.float32)
    wanted = layout(ZImageControlNetModel.from_transformer(theirs, base.transformer))
    # With layers that were read beside it, and with those of a base model that is loaded
    entry = read_catalog(catalog.path, Settings()).models["tiny-z-image"]
    own = load_entry("tiny-z-image", entry, catalog.path, "cpu")
    assert layout(ours.model) == layout(ours.with_base(own.parts).model) == wanted


@pytest.mark.parametrize("name", MODELS)
def test_nothing_that_a_job_keeps_of_a_control_image_needs_a_gradient(
    catalog: MixedCatalog, name: str
) -> None:
    model = load_entry(name, read_catalog(catalog.path, Settings()).models[name], catalog.path, "cpu")
    config = json.loads((Path(catalog.controlnets[name]) / "config.json").read_text())
    job = spec(model=name, width=64, height=64)
    inputs = model.control_inputs(job, [torch.rand(1, 3, 64, 64)], [config], [torch.Generator()])
    assert not any(tensor.requires_grad for tensor in inputs)
