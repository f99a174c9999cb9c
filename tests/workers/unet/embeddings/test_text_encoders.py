"""Models whose text encoders are loaded when a prompt must be encoded, and unloaded for others."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.tiny_models.weights import randomize
from shared.catalog.entries import ModelEntry
from shared.errors import ModelFailed
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec
from tests.checkpoints import save_checkpoint
from tests.tiny_models import EMOJI, make_pipeline
from tests.tiny_transformers import make_flux, make_sd3
from tests.workers.unet.embeddings.apart import Apart
from tests.workers.unet.jobs import pixels, run, upload
from tests.workers.unet.specs import spec
from workers.devices.selection import find_device
from workers.families.base import BaseModel
from workers.families.load_base_model import load_entry
from workers.runtime.weights.hash_cache import HashCache
from workers.runtime.weights.loaded import weight_bytes
from workers.unet.embeddings.key import embeddings_key
from workers.unet.embeddings.prompt_encoder import PromptEncoder
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
CPU = find_device("cpu")


@pytest.fixture
def emoji() -> Apart:
    return Apart(Path("infra/catalog.toml").resolve(), {"emoji-sd": ModelEntry(source="emoji/model")})


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd1.safetensors"])
def test_a_model_without_its_text_encoders_encodes_the_same_bits(tmp_path: Path, name: str) -> None:
    layout = name.removesuffix(".safetensors")
    pipe = make_pipeline(layout)
    pipe.save_pretrained(tmp_path / layout)
    entry = ModelEntry(source=layout)
    if name != layout:
        save_checkpoint(pipe, tmp_path / name)
        entry = ModelEntry(source=name, config=layout)
    whole = load_entry("m", entry, tmp_path / "catalog.toml", "cpu")
    apart = Apart(tmp_path / "catalog.toml", {"m": entry})
    with apart.models.use("m") as model:
        assert not model.has_text_encoders
        assert model.weight_bytes + model.apart_bytes == whole.weight_bytes
        assert (model.sha256, key_of(model)) == (whole.sha256, key_of(whole))
        encoder = PromptEncoder(text_encoders=apart.text_encoders)
        found, own = encoder.encode_prompt(model, spec(), CPU), whole.encode_prompt(spec())
        for part, tensor in own.tensors.items():
            assert torch.equal(found.tensors[part], tensor)
        assert not model.has_text_encoders
        assert apart.memory.models.used_bytes() == whole.weight_bytes


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd1.safetensors"])
def test_text_encoders_are_read_with_a_model_only_until_their_hashes_are_known(
    tmp_path: Path, name: str
) -> None:
    layout = name.removesuffix(".safetensors")
    pipe, reads = make_pipeline(layout), []
    pipe.save_pretrained(tmp_path / layout)
    entry = ModelEntry(source=layout)
    if name != layout:
        save_checkpoint(pipe, tmp_path / name)
        entry = ModelEntry(source=name, config=layout)
    catalog, hashes = tmp_path / "catalog.toml", HashCache(tmp_path / "hashes")
    own: dict[str, Any] = {"without_text_encoders": True, "make_room": lambda: reads.append(name)}
    first, again = (load_entry("m", entry, catalog, "cpu", hashes, **own) for _ in range(2))
    assert len(reads) == 1
    assert (again.sha256, again.apart, key_of(again)) == (first.sha256, first.apart, key_of(first))
    apart = Apart(catalog, {"m": entry})
    found = PromptEncoder(text_encoders=apart.text_encoders).encode_prompt(again, spec(), CPU)
    whole = load_entry("m", entry, catalog, "cpu").encode_prompt(spec())
    for part, tensor in whole.tensors.items():
        assert torch.equal(found.tensors[part], tensor)


def test_a_prompt_that_is_known_needs_no_text_encoders(emoji: Apart) -> None:
    encoder = PromptEncoder(text_encoders=emoji.text_encoders)
    with emoji.models.use("emoji-sd") as model:
        encoder.encode_prompt(model, spec(), CPU)
        encoder.wait_until_stored()
        emoji.memory.models.evict_idle()
        encoder.encode_prompt(model, spec(seed=8), CPU)
        assert emoji.loads == ["text_encoder of emoji-sd"]
        encoder.encode_prompt(model, spec(prompt="another"), CPU)
        assert emoji.loads == ["text_encoder of emoji-sd"] * 2


def test_text_encoders_stay_loaded_until_their_memory_is_needed(emoji: Apart) -> None:
    encoder = PromptEncoder(text_encoders=emoji.text_encoders)
    with emoji.models.use("emoji-sd") as model:
        for prompt in ("one", "two"):
            encoder.encode_prompt(model, spec(prompt=prompt), CPU)
        assert emoji.text_encoders_loaded() == [model.apart["text_encoder"].sha256]
        assert emoji.loads == ["text_encoder of emoji-sd"]
        # When there is only memory for the model that is in use
        emoji.memory.models.capacity_bytes = model.weight_bytes
        encoder.encode_prompt(model, spec(prompt="three"), CPU)
        # Then a prompt is encoded all the same, and the text encoders are unloaded
        assert emoji.text_encoders_loaded() == []
        emoji.memory.models.check()


def test_models_with_the_same_text_encoders_hold_them_once(tmp_path: Path) -> None:
    # Given two models that differ in their UNets alone, and one with text encoders of its own
    pipe = make_pipeline()
    pipe.save_pretrained(tmp_path / "first")
    pipe.unet.conv_out.bias.data += 1.0
    pipe.save_pretrained(tmp_path / "second")
    pipe.text_encoder.final_layer_norm.bias.data += 1.0
    pipe.save_pretrained(tmp_path / "other")
    names = ["first", "second", "other"]
    apart = Apart(tmp_path / "catalog.toml", {name: ModelEntry(source=name) for name in names})
    encoder = PromptEncoder(text_encoders=apart.text_encoders, memory_bytes=0)
    # When each encodes a prompt
    for name in names:
        with apart.models.use(name) as model:
            encoder.encode_prompt(model, spec(), CPU)
            encoder.wait_until_stored()
    # Then the two share one load
    assert apart.loads == ["text_encoder of first", "text_encoder of other"]
    assert len(apart.text_encoders_loaded()) == 2


def flux_with(encoder: Any, tokenizer: Any) -> Any:
    """A Flux whose second text encoder is this one."""
    pipe = make_flux()
    config = {**pipe.transformer.config, "joint_attention_dim": encoder.config.d_model}
    transformer = randomize(type(pipe.transformer).from_config(config), 0)
    own = pipe.components | {"text_encoder_2": encoder, "tokenizer_2": tokenizer, "transformer": transformer}
    return type(pipe)(**own)


def test_models_of_two_families_hold_one_t5(tmp_path: Path) -> None:
    # Given Flux and Stable Diffusion 3 with one T5 between them, and CLIPs of their own
    sd3 = make_sd3()
    sd3.save_pretrained(tmp_path / "sd3")
    flux_with(sd3.text_encoder_3, sd3.tokenizer_3).save_pretrained(tmp_path / "flux")
    entries = {name: ModelEntry(source=name) for name in ("flux", "sd3")}
    whole = {
        name: load_entry(name, entry, tmp_path / "catalog.toml", "cpu") for name, entry in entries.items()
    }
    apart = Apart(tmp_path / "catalog.toml", entries)
    encoder = PromptEncoder(text_encoders=apart.text_encoders, memory_bytes=0)
    job = spec(scheduler="flow_match_euler", negative_prompt=None)
    # When both encode prompts, in turn
    for name in ("flux", "sd3", "flux"):
        with apart.models.use(name) as model:
            found, own = encoder.encode_prompt(model, job, CPU), whole[name].encode_prompt(job)
            encoder.wait_until_stored()
        for part, tensor in own.tensors.items():
            assert torch.equal(found.tensors[part], tensor)
    # Then T5 is loaded once, and takes its memory once
    assert sorted(apart.loads) == [
        "text_encoder of flux",
        "text_encoder of sd3",
        "text_encoder_2 of flux",
        "text_encoder_2 of sd3",
    ]
    t5_bytes = weight_bytes([sd3.text_encoder_3])
    assert apart.memory.models.used_bytes() == sum(one.weight_bytes for one in whole.values()) - t5_bytes


def test_two_equal_text_encoders_of_one_model_are_loaded_each(tmp_path: Path) -> None:
    # Given that a LoRA may patch one of them
    sd3 = make_sd3()
    sd3.text_encoder_2 = sd3.text_encoder
    sd3.save_pretrained(tmp_path / "sd3")
    apart = Apart(tmp_path / "catalog.toml", {"sd3": ModelEntry(source="sd3")})
    with apart.models.use("sd3") as model, apart.text_encoders.use(model):
        assert model.apart["text_encoder"].sha256 == model.apart["text_encoder_2"].sha256
        one, other = (
            dict(model.parts[part].named_parameters()) for part in ("text_encoder", "text_encoder_2")
        )
        assert not {tensor.data_ptr() for tensor in one.values()} & {
            tensor.data_ptr() for tensor in other.values()
        }
    assert len(apart.loads) == 3


def test_text_encoders_that_have_changed_are_refused(tmp_path: Path) -> None:
    pipe = make_pipeline()
    pipe.save_pretrained(tmp_path / "m")
    apart = Apart(tmp_path / "catalog.toml", {"m": ModelEntry(source="m")})
    encoder = PromptEncoder(text_encoders=apart.text_encoders)
    with apart.models.use("m") as model:
        pipe.text_encoder.final_layer_norm.bias.data += 1.0
        pipe.save_pretrained(tmp_path / "m")
        with pytest.raises(ModelFailed, match="have changed since it was loaded"):
            encoder.encode_prompt(model, spec(), CPU)


@pytest.mark.parametrize("mode", ["exact", "replay"])
def test_a_lora_that_trains_text_encoders_is_patched_into_those_that_are_apart(
    make_worker: MakeWorker, emoji: Apart, pristine: None, mode: str
) -> None:
    whole = make_worker()
    worker = dataclasses.replace(
        whole, models=emoji.models, prompts=PromptEncoder(text_encoders=emoji.text_encoders, memory_bytes=0)
    )
    lora = upload(whole, EMOJI / "loras" / "outline.safetensors")
    steps = {lora.name: 2} if mode == "replay" else {}
    loading = LoraLoading.model_validate({"mode": mode, "steps": steps} if steps else {"mode": mode})
    with_lora = spec(loras=[lora], lora_loading=loading, num_inference_steps=4)
    without = spec(num_inference_steps=4)
    jobs: list[JobSpec] = [with_lora, without, with_lora, without]
    wanted = [pixels(whole, run(whole, job)) for job in jobs[:2]]
    for place, job in enumerate(jobs):
        assert np.array_equal(pixels(worker, run(worker, job)), wanted[place % 2])
    with emoji.models.use("emoji-sd") as model:
        assert model.patcher.patched == ()
        assert model.patched_with == set()


def key_of(model: BaseModel) -> str | None:
    return embeddings_key(model, spec())
