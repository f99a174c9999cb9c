"""Long prompts, against what diffusers makes of each of their chunks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from shared.families.unet import SDXL
from tests.workers.unet.specs import spec
from tests.workers.unet.test_job import run
from workers.families.base import BaseModel
from workers.runtime.model_cache import ModelCache
from workers.unet.worker import UNetWorker

#: Words of one token each; a window of the tiny models' tokenizer has room for 30 of them.
WORDS = ["red", "cat", "on", "a", "blue", "background"] * 12
ROOM = 30


def text(start: int, end: int) -> str:
    return " ".join(WORDS[start:end])


@pytest.fixture(params=["sd1", "sdxl"])
def model(request: pytest.FixtureRequest, models: ModelCache[BaseModel]) -> BaseModel:
    with models.use(request.param) as held:
        assert held.pipe.tokenizer.model_max_length == ROOM + 2
        return held


@pytest.mark.parametrize("negative", [None, "", "a dog"])
@pytest.mark.parametrize("clip_skip", [None, 1])
def test_a_text_of_one_chunk_is_encoded_as_diffusers_does(
    model: BaseModel, negative: str | None, clip_skip: int | None
) -> None:
    wanted = spec(prompt="a red cat", negative_prompt=negative, clip_skip=clip_skip, num_images=2)
    whole = model.encode_prompt(wanted)
    chunked = model.encode_prompt(wanted.model_copy(update={"long_prompt": "chunk"}))
    assert torch.equal(chunked.embeddings, whole.embeddings)
    for name, tensor in whole.added.items():
        assert torch.equal(chunked.added[name], tensor)


def test_every_chunk_is_encoded_by_itself_and_the_shorter_text_is_filled_up(model: BaseModel) -> None:
    wanted = spec(prompt=text(0, 70), negative_prompt="a dog", long_prompt="chunk")
    chunked = model.encode_prompt(wanted)
    assert chunked.embeddings.shape[1] == 3 * (ROOM + 2)
    pieces = [(text(0, 30), "a dog"), (text(30, 60), ""), (text(60, 70), "")]
    for i, (prompt, negative) in enumerate(pieces):
        alone = model.encode_prompt(spec(prompt=prompt, negative_prompt=negative))
        window = slice(i * (ROOM + 2), (i + 1) * (ROOM + 2))
        assert torch.equal(chunked.embeddings[:, window], alone.embeddings)
        if i == 0 and model.facts is SDXL:
            assert torch.equal(chunked.added["text_embeds"], alone.added["text_embeds"])


def test_a_long_negative_prompt_fills_up_the_prompt(model: BaseModel) -> None:
    wanted = spec(prompt="a cat", negative_prompt=text(0, 31), long_prompt="chunk")
    chunked = model.encode_prompt(wanted)
    alone = model.encode_prompt(spec(prompt="", negative_prompt=text(30, 31)))
    assert torch.equal(chunked.embeddings[:, ROOM + 2 :], alone.embeddings)


def test_what_is_cut_off_is_told_by_its_field(model: BaseModel) -> None:
    assert model.prompt_warnings(spec(prompt=text(0, 30))) == []
    (told,) = model.prompt_warnings(spec(prompt=text(0, 32), negative_prompt="a dog"))
    assert told.startswith(f"prompt has 32 tokens, the text encoder sees {ROOM}; ignored: 'red cat")
    (told,) = model.prompt_warnings(spec(negative_prompt=text(0, 31)))
    assert told.startswith("negative_prompt has 31 tokens")
    assert model.prompt_warnings(spec(prompt=text(0, 32), long_prompt="chunk")) == []


def test_a_job_tells_what_of_its_prompt_was_cut_off(make_worker: Callable[..., UNetWorker]) -> None:
    worker = make_worker()

    def warnings(**changes: Any) -> list[str]:
        job = run(worker, spec(model="sd1", num_inference_steps=2, prompt=text(0, 40), **changes))
        assert job.status == "succeeded", job.error
        return job.warnings

    (told,) = warnings()
    assert "prompt has 40 tokens" in told
    assert warnings(long_prompt="chunk") == []
