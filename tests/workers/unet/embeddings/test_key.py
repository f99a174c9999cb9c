"""Embeddings have one name if, and only if, they have the same bits."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.tiny_models.sd3 import make_sd3
from infra.tiny_models.z_image import make_z_image
from shared.jobs.lora_scales import PartScales
from shared.jobs.spec import JobSpec
from tests.tiny_models import EMOJI, make_lora, make_pipeline
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.families.sd3.model import SD3Model
from workers.families.unet.loading import unet_model
from workers.families.z_image.model import ZImageModel
from workers.lora.formats.parser import read_lora
from workers.runtime.model_cache import ModelCache
from workers.unet.embeddings.key import embeddings_key

LONG = "red cat on a blue background " * 8
#: What a prompt's embeddings may depend on, in every family that has it.
TEXTS: list[dict[str, Any]] = [
    {},
    {"prompt": "another"},
    {"negative_prompt": None},
    {"negative_prompt": "a dog"},
    {"clip_skip": 1},
    {"long_prompt": "chunk"},
    {"prompt": LONG},
    {"prompt": LONG, "long_prompt": "chunk"},
    {"negative_prompt": LONG, "long_prompt": "chunk"},
    {"prompt": "a (cat)"},
    {"prompt": "a (cat)", "prompt_syntax": "a1111"},
    {"prompt": "a cat", "prompt_syntax": "a1111"},
    {"negative_prompt": "a (dog:0.5)"},
    {"negative_prompt": "a (dog:0.5)", "prompt_syntax": "a1111"},
    {"guidance_scale": 1.0},
    {"guidance_scale": 1.0, "negative_prompt": "a dog"},
]
SDXL_TEXTS: list[dict[str, Any]] = [
    {"prompt_2": "another"},
    {"negative_prompt_2": "a dog"},
    {"prompt_2": "another", "negative_prompt_2": "a dog", "negative_prompt": None},
]
#: What they do not depend on.
OTHERS: list[dict[str, Any]] = [
    {"seed": 8},
    {"num_images": 3},
    {"num_inference_steps": 3},
    {"width": 128},
    {"scheduler": "euler"},
    {"guidance_scale": 4.0},
]


@pytest.mark.parametrize("layout", ["sd1", "sd2", "sdxl", "lcm", "sdxl-lcm"])
def test_jobs_of_one_key_have_the_same_embeddings(models: ModelCache[BaseModel], layout: str) -> None:
    jobs = [spec(**changes) for changes in TEXTS + (SDXL_TEXTS if layout.startswith("sdxl") else [])]
    with models.use(layout) as model:
        model.patcher.restore()
        found = [(key_of(model, job), model.encode_texts(job)) for job in jobs]
    for key, texts in found:
        for other_key, other in found:
            is_same = texts.keys() == other.keys() and all(
                torch.equal(tensor, other[name]) for name, tensor in texts.items()
            )
            assert is_same or key != other_key


@pytest.mark.parametrize("changes", OTHERS, ids=str)
@pytest.mark.parametrize("layout", ["sd1", "sdxl"])
def test_what_text_encoders_do_not_read_changes_no_key(
    models: ModelCache[BaseModel], layout: str, changes: dict[str, Any]
) -> None:
    with models.use(layout) as model:
        assert key_of(model, spec(**changes)) == key_of(model, spec())


def test_of_a_job_without_guidance_the_negative_prompt_does_not_count(models: ModelCache[BaseModel]) -> None:
    with models.use("sd1") as model:
        first, second = (
            key_of(model, spec(guidance_scale=1.0, negative_prompt=text)) for text in ("a dog", "a cat")
        )
    assert first == second


def test_loras_in_the_text_encoder_count_with_their_scales(tmp_path: Path) -> None:
    pipe = make_pipeline()
    model = unet_model("tiny", pipe)
    make_lora(pipe, tmp_path / "lora.safetensors")
    lora = read_lora(tmp_path / "lora.safetensors", model.lora_targets)
    keys = []
    for patch in ([], [(lora, 1.0)], [(lora, 0.5)], [(lora, PartScales(text_encoder=0.5))], []):
        model.patcher.apply(patch)
        keys.append(key_of(model, spec()))
    assert keys[0] == keys[-1]
    assert keys[2] == keys[3]  # the UNet's scale is another, the text encoder's is not
    assert len(set(keys)) == 3


def test_loras_of_the_unet_alone_do_not_count(models: ModelCache[BaseModel]) -> None:
    with models.use("emoji-sd") as model:
        lora = read_lora(EMOJI / "loras" / "twemoji.safetensors", model.lora_targets)
        assert set(lora.parts) == {"unet"}
        model.patcher.restore()
        before = key_of(model, spec())
        try:
            model.patcher.apply([(lora, 1.0)])
            assert key_of(model, spec()) == before
        finally:
            model.patcher.restore()


def test_other_weights_tokenizers_types_and_threads_have_other_keys() -> None:
    pipes = [make_pipeline() for _ in range(4)]
    pipes[1].text_encoder.final_layer_norm.bias.data += 1e-6
    pipes[2].tokenizer.add_tokens(["penguin"])
    pipes[3].to(torch.bfloat16)
    keys = {key_of(unet_model("tiny", pipe), spec()) for pipe in pipes}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        keys.add(key_of(unet_model("tiny", make_pipeline()), spec()))
    finally:
        torch.set_num_threads(threads)
    assert len(keys) == 5


def test_what_a_tokenizer_does_unless_a_call_says_otherwise_counts() -> None:
    pipe = make_pipeline()
    keys = [key_of(unet_model("tiny", pipe), spec())]
    pipe.tokenizer.truncation_side = "left"  # of a long prompt the other end is read
    keys.append(key_of(unet_model("tiny", pipe), spec()))
    pipe.tokenizer.padding_side = "left"
    keys.append(key_of(unet_model("tiny", pipe), spec()))
    assert len(set(keys)) == 3


def test_a_chat_template_counts() -> None:
    pipe, job = make_z_image(), spec(scheduler="flow_match_euler")
    first, second = ZImageModel("first", pipe), ZImageModel("second", pipe)
    key, texts = key_of(first, job), first.encode_texts(job)
    pipe.tokenizer.chat_template = "{% for m in messages %}Draw in oil. {{ m['content'] }}{% endfor %}"
    assert not torch.equal(second.encode_texts(job)["prompt"], texts["prompt"])
    assert key_of(second, job) != key


def test_without_t5_the_width_of_the_zeros_in_its_place_counts() -> None:
    job = spec(scheduler="flow_match_euler")
    for with_t5 in (True, False):
        pipe = make_sd3(with_t5=with_t5)
        key = key_of(SD3Model("first", pipe), job)
        pipe.transformer.register_to_config(joint_attention_dim=64)
        assert (key_of(SD3Model("second", pipe), job) == key) is with_t5


def test_the_key_is_the_same_once_the_tokenizer_was_used() -> None:
    fresh, used = unet_model("tiny", make_pipeline()), unet_model("tiny", make_pipeline())
    used.encode_texts(spec())
    assert key_of(used, spec()) == key_of(fresh, spec())


def test_models_that_share_their_text_encoders_share_embeddings() -> None:
    pipe = make_pipeline()
    other = copy.deepcopy(pipe)
    other.unet.conv_in.bias.data += 1.0
    first, second = unet_model("first", pipe), unet_model("second", other)
    assert first.sha256 != second.sha256
    assert key_of(first, spec()) == key_of(second, spec())


def key_of(model: BaseModel, job: JobSpec) -> str:
    key = embeddings_key(model, job)
    assert key is not None
    return key
