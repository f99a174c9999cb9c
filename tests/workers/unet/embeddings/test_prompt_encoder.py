"""Prompts that some worker has encoded before: the same bits, and no work for the text encoders."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from redis import Redis
from torch import Tensor

from shared.jobs.options import LoraLoading
from shared.metrics import EMBEDDING_LOOKUPS
from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.tiny_models import EMOJI, LAYOUTS, make_pipeline
from tests.workers.lora.cache.buckets import counted
from tests.workers.unet.jobs import pixels, run, upload
from tests.workers.unet.specs import spec
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.families.base import BaseModel, Conditioning
from workers.families.unet.loading import unet_model
from workers.runtime.model_cache import ModelCache
from workers.unet.embeddings.prompt_encoder import PromptEncoder
from workers.unet.embeddings.shared_embeddings import SharedEmbeddings
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
LONG = "red cat on a blue background " * 8
JOBS: list[dict[str, Any]] = [
    {},
    {"negative_prompt": None, "num_images": 2},
    {"guidance_scale": 1.0, "num_images": 2},
    {"prompt": LONG, "long_prompt": "chunk", "clip_skip": 1},
    {"prompt": "a (red:1.5) cat BREAK [sun]", "negative_prompt": "(a:0.5) dog", "prompt_syntax": "a1111"},
]
CPU = find_device("cpu")


@pytest.fixture
def shared(residual: Redis, servers: Settings) -> SharedEmbeddings:
    residual.flushall()
    return SharedEmbeddings(residual, servers)


@contextmanager
def counting(model: BaseModel) -> Iterator[list[object]]:
    """The calls of the model's text encoders within the block."""
    calls: list[object] = []
    hooks = [
        model.parts[part].register_forward_hook(lambda *call: calls.append(call[0]))
        for part in model.facts.tokenizers
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def tensors(conditioning: Conditioning) -> Mapping[str, Tensor]:
    guidance = getattr(conditioning, "guidance", None)
    return {**conditioning.tensors, **({} if guidance is None else {"guidance": guidance})}


def assert_equal(found: Conditioning, wanted: Conditioning) -> None:
    assert tensors(found).keys() == tensors(wanted).keys()
    for name, tensor in tensors(wanted).items():
        assert torch.equal(tensors(found)[name], tensor), name
        assert tensors(found)[name].stride() == tensor.stride(), name


@pytest.mark.parametrize("changes", JOBS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_embeddings_of_another_worker_have_the_bits_of_ones_own(
    models: ModelCache[BaseModel], shared: SharedEmbeddings, layout: str, changes: dict[str, Any]
) -> None:
    images = {"image": "a" * 64, "mask_image": "b" * 64} if layout.endswith("inpaint") else {}
    job, first = spec(**changes, **images), PromptEncoder(shared)
    with models.use(layout) as model:
        model.patcher.restore()
        own = model.encode_prompt(job)
        assert_equal(first.encode_prompt(model, job, CPU), own)
        first.wait_until_stored()
        # When other workers encode the same prompt, and the first one does so again
        with counting(model) as calls:
            for encoder in (PromptEncoder(shared), first):
                assert_equal(encoder.encode_prompt(model, job, CPU), own)
        # Then no text encoder is called
        assert calls == []


def test_copies_from_and_to_an_asynchronous_device_are_waited_for(
    models: ModelCache[BaseModel], shared: SharedEmbeddings
) -> None:
    device: Device = FakeDevice()
    with models.use("sdxl") as model:
        model.patcher.restore()
        own, first, second = model.encode_prompt(spec()), PromptEncoder(shared), PromptEncoder(shared)
        assert_equal(first.encode_prompt(model, spec(), device), own)
        first.wait_until_stored()
        with counting(model) as calls:
            assert_equal(second.encode_prompt(model, spec(), device), own)
        assert calls == []


def test_without_a_server_a_worker_still_finds_its_own(models: ModelCache[BaseModel]) -> None:
    encoder = PromptEncoder()
    with models.use("sd1") as model:
        model.patcher.restore()
        encoder.encode_prompt(model, spec(), CPU)
        encoder.wait_until_stored()
        with counting(model) as calls:
            encoder.encode_prompt(model, spec(seed=8), CPU)
        assert calls == []
        # And no more than fit
        small = PromptEncoder(memory_bytes=1)
        small.encode_prompt(model, spec(), CPU)
        small.wait_until_stored()
        with counting(model) as calls:
            small.encode_prompt(model, spec(), CPU)
        assert calls


def test_embeddings_that_are_not_finite_are_never_stored(shared: SharedEmbeddings) -> None:
    model, encoder = unet_model("tiny", make_pipeline()), PromptEncoder(shared)
    bias = model.pipe.text_encoder.final_layer_norm.bias.data
    bias += float("nan")
    encoder.encode_prompt(model, spec(), CPU)
    encoder.wait_until_stored()
    bias.zero_()
    with counting(model) as calls:
        encoder.encode_prompt(model, spec(), CPU)
    assert calls


def test_a_worker_finds_the_prompt_of_a_job_that_another_ran(make_worker: MakeWorker) -> None:
    first, second = make_worker(), make_worker()
    wanted = spec(num_inference_steps=2, prompt="a prompt of this test")
    before = counted(EMBEDDING_LOOKUPS)
    image = pixels(first, run(first, wanted))
    first.prompts.wait_until_stored()
    for worker in (second, second, first):
        assert np.array_equal(pixels(worker, run(worker, wanted)), image)
    found = counted(EMBEDDING_LOOKUPS)
    assert {tier: found[tier] - before.get(tier, 0) for tier in ("none", "shared", "memory")} == {
        "none": 1,
        "shared": 1,
        "memory": 2,
    }


@pytest.mark.parametrize(
    ("loading", "lookups"),
    [(LoraLoading(mode="exact"), 1), (LoraLoading(mode="replay", steps={"lora": 2}), 2)],
    ids=["from the first step", "from a later step"],
)
def test_a_lora_that_trains_the_text_encoder_has_embeddings_of_its_own(
    make_worker: MakeWorker, pristine: None, loading: LoraLoading, lookups: int
) -> None:
    first, second = make_worker(), make_worker()
    lora = upload(first, EMOJI / "loras" / "outline.safetensors")
    if loading.steps:
        loading = loading.model_copy(update={"steps": {lora.name: 2}})
    base = spec(num_inference_steps=4, prompt=f"a prompt of its own, {loading.mode}")
    wanted = base.model_copy(update={"loras": [lora], "lora_loading": loading})
    # Given the embeddings without the LoRA, which are found where it is not patched yet
    without = pixels(first, run(first, base))
    image = pixels(first, run(first, wanted))
    assert not np.array_equal(image, without)
    first.prompts.wait_until_stored()
    # When another worker runs the job
    before = counted(EMBEDDING_LOOKUPS)
    again = pixels(second, run(second, wanted))
    # Then it finds all of them, and the image is the same
    found = counted(EMBEDDING_LOOKUPS)
    assert np.array_equal(again, image)
    assert (found["none"] - before["none"], found["shared"] - before["shared"]) == (0, lookups)
