"""Weights of a prompt: chunks and products that were worked out by hand, and tiny models as a whole."""

from typing import Any

import pytest
import torch
from torch import Tensor

from shared.errors import InvalidRequest
from shared.families.unet import SDXL
from tests.tiny_models import make_pipeline
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.families.unet.prompts.long_prompt import Text
from workers.families.unet.prompts.weighted_prompt import multiply, multiply_restoring_mean, split_weighted
from workers.runtime.model_cache import ModelCache

#: Tokens that the tiny models' text encoders see, without begin and end.
ROOM = 30
#: Words of one token each.
WORDS = ["red", "cat", "on", "a", "blue", "background"] * 12


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_pipeline().tokenizer


@pytest.fixture(params=["emoji-sd", "sd2", "sdxl"])
def model(request: pytest.FixtureRequest, models: ModelCache[BaseModel]) -> BaseModel:
    with models.use(request.param) as held:
        return held


@pytest.fixture(params=["emoji-sd", "sdxl"])
def trained(request: pytest.FixtureRequest, models: ModelCache[BaseModel]) -> BaseModel:
    """Without SD 2, whose random text encoder has a mean of zero but for rounding."""
    with models.use(request.param) as held:
        return held


def split(tokenizer: Any, prompt: str) -> list[tuple[list[str], list[float] | None]]:
    """The chunks of a prompt, as words."""
    chunks = split_weighted(Text("prompt", prompt, tokenizer, None)).chunks
    names = [tokenizer.convert_ids_to_tokens(chunk.ids) for chunk in chunks]
    return [
        ([name.removesuffix("</w>") for name in own], chunk.weights)
        for own, chunk in zip(names, chunks, strict=True)
    ]


def sizes(tokenizer: Any, prompt: str) -> list[int]:
    return [len(words) for words, _ in split(tokenizer, prompt)]


def a1111(**changes: Any) -> Any:
    return spec(prompt_syntax="a1111", **changes)


def test_each_token_has_the_weight_of_its_part(tokenizer: Any) -> None:
    assert split(tokenizer, "a (red cat:1.5) on [blue]") == [
        (["a", "red", "cat", "on", "blue"], [1.0, 1.5, 1.5, 1.0, 1 / 1.1])
    ]
    assert split(tokenizer, "a red cat") == [(["a", "red", "cat"], None)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [0]),
        ("a BREAK red cat", [1, 2]),
        ("a BREAK", [1]),  # nothing follows: no chunk for it
        ("BREAK a", [0, 1]),
        ("BREAK", [0]),
        ("a BREAK BREAK red", [1, 0, 1]),
        (" ".join(WORDS[:30]), [30]),
        (" ".join(WORDS[:31]), [30, 1]),
        (" ".join(WORDS[:70]), [30, 30, 10]),
        (" ".join(WORDS[:30]) + " BREAK a", [30, 1]),
    ],
)
def test_break_and_a_full_window_end_a_chunk(tokenizer: Any, prompt: str, expected: list[int]) -> None:
    assert sizes(tokenizer, prompt) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (20, 14, [21, 14]),  # a comma is the 21st token: the nine behind it go with what follows
        (10, 20, [11, 20]),  # 20 tokens from the window's end: the farthest that counts
        (9, 21, [30, 1]),  # one farther: torn apart
        (29, 3, [30, 3]),  # the comma is the window's last token
        (30, 3, [30, 4]),  # it is the next window's first
        (45, 30, [30, 16, 30]),  # in the second window
        (35, 33, [30, 30, 9]),  # there, and too far from its end
    ],
)
def test_what_follows_a_near_comma_goes_into_the_next_chunk(
    tokenizer: Any, before: int, after: int, expected: list[int]
) -> None:
    prompt = f"{' '.join(WORDS[:before])}, {' '.join(WORDS[:after])}"
    assert sizes(tokenizer, prompt) == expected


def test_a_token_that_goes_into_the_next_chunk_keeps_its_weight(tokenizer: Any) -> None:
    prompt = f"({' '.join(WORDS[:20])}:2), (red cat:3) {' '.join(WORDS[:10])}"
    (first, first_weights), (second, second_weights) = split(tokenizer, prompt)
    assert (first[-1], first_weights) == (",", [2.0] * 20 + [1.0])
    assert (second[:2], second_weights) == (["red", "cat"], [3.0, 3.0] + [1.0] * 10)


def test_weights_multiply_and_the_mean_is_restored() -> None:
    embeddings = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])  # the mean is 2.5
    weights = torch.tensor([[1.0, 2.0]])
    assert multiply(embeddings, weights).tolist() == [[[1.0, 2.0], [6.0, 8.0]]]  # the mean is 4.25
    restored = multiply_restoring_mean(embeddings, weights)
    scale = 2.5 / 4.25
    assert torch.allclose(restored, torch.tensor([[[scale, 2 * scale], [6 * scale, 8 * scale]]]))
    assert restored.mean().item() == pytest.approx(2.5)


def test_a_mean_of_zero_is_left_as_it_is() -> None:
    embeddings, weights = torch.tensor([[[1.0, -1.0], [2.0, -2.0]]]), torch.tensor([[1.0, 2.0]])
    assert multiply_restoring_mean(embeddings, weights).tolist() == [[[1.0, -1.0], [4.0, -4.0]]]


@pytest.mark.parametrize("weigh", [multiply, multiply_restoring_mean])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_type_of_embeddings_stays(weigh: Any, dtype: torch.dtype) -> None:
    embeddings = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    weighed = weigh(embeddings, torch.ones(1, 4))
    assert weighed.dtype == dtype
    assert torch.equal(weighed, embeddings)


@pytest.mark.parametrize("negative", [None, "", "a dog"])
@pytest.mark.parametrize("clip_skip", [None, 1])
def test_a_prompt_without_weights_is_encoded_as_a_plain_one(
    model: BaseModel, negative: str | None, clip_skip: int | None
) -> None:
    wanted = {"prompt": "a red cat", "negative_prompt": negative, "clip_skip": clip_skip}
    plain, weighted = model.encode_texts(spec(**wanted)), model.encode_texts(a1111(**wanted))
    assert plain.keys() == weighted.keys()
    assert all(torch.equal(weighted[name], tensor) for name, tensor in plain.items())


def by_hand(model: BaseModel, encoded: Tensor, weights: list[float]) -> Tensor:
    """A window's embeddings by the weights of its first tokens; SD's mean stays, SDXL's does not."""
    row = torch.ones(encoded.shape[1])
    row[1 : len(weights) + 1] = torch.tensor(weights)  # the first token is the begin
    product = encoded * row[None, :, None]
    if model.facts is SDXL:
        return product
    return product * (encoded.mean() / product.mean())


def test_embeddings_are_multiplied_by_the_weights_of_their_tokens(trained: BaseModel) -> None:
    plain = trained.encode_texts(spec(prompt="a red cat", negative_prompt="blue dog"))
    weighted = trained.encode_texts(a1111(prompt="a (red:1.5) [cat]", negative_prompt="blue (dog:0.5)"))
    expected = by_hand(trained, plain["cond"], [1.0, 1.5, 1 / 1.1])
    assert torch.allclose(weighted["cond"], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weighted["cond"], plain["cond"])
    words = trained.pipe.tokenizer("blue dog", add_special_tokens=False)["input_ids"]
    expected = by_hand(trained, plain["uncond"], [1.0] + [0.5] * (len(words) - 1))
    assert torch.allclose(weighted["uncond"], expected, rtol=1e-5, atol=1e-6)
    for name in plain.keys() - {"cond", "uncond"}:  # what SDXL pools has no weights
        assert torch.equal(weighted[name], plain[name])


def test_each_chunk_has_a_mean_of_its_own_and_the_shorter_text_is_filled_up(trained: BaseModel) -> None:
    weighted = trained.encode_texts(a1111(prompt="a (red:1.5) BREAK (cat:0.5)", negative_prompt="dog"))
    pieces = [("a red", [1.0, 1.5], "dog"), ("cat", [0.5], "")]
    assert weighted["cond"].shape[1] == weighted["uncond"].shape[1] == 2 * (ROOM + 2)
    for i, (prompt, weights, negative) in enumerate(pieces):
        window = slice(i * (ROOM + 2), (i + 1) * (ROOM + 2))
        alone = trained.encode_texts(spec(prompt=prompt, negative_prompt=negative))
        expected = by_hand(trained, alone["cond"], weights)
        assert torch.allclose(weighted["cond"][:, window], expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(weighted["uncond"][:, window], alone["uncond"])


def test_the_second_text_of_sdxl_has_weights_of_its_own(models: ModelCache[BaseModel]) -> None:
    texts = {"prompt": "a cat", "prompt_2": "a dog", "negative_prompt": "", "negative_prompt_2": "red"}
    with models.use("sdxl") as model:
        plain = model.encode_texts(spec(**texts))
        texts |= {"prompt_2": "(a:2) dog", "negative_prompt_2": "(red:3)"}
        weighted = model.encode_texts(a1111(**texts))
        width = model.pipe.text_encoder.config.hidden_size
    for name, weight in (("cond", 2.0), ("uncond", 3.0)):
        assert torch.equal(weighted[name][..., :width], plain[name][..., :width])
        assert torch.equal(weighted[name][:, 1, width:], plain[name][:, 1, width:] * weight)
        assert torch.equal(weighted[name][:, 2:, width:], plain[name][:, 2:, width:])


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"prompt": "(a:1.2.3)"}, "prompt"), ({"negative_prompt": "(a:.)"}, "negative_prompt")],
)
def test_what_cannot_be_read_is_refused_by_its_field(
    model: BaseModel, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest, match="is no weight") as refused:
        model.text_inputs(a1111(**changes))
    assert refused.value.field == field


def test_nothing_of_a_long_prompt_is_cut_off(model: BaseModel) -> None:
    assert model.prompt_warnings(a1111(prompt=" ".join(WORDS))) == []
