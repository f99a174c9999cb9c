"""Keys and values of a prompt are made once, and never those of another prompt or of other weights."""

import gc
import weakref
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from workers.families.unet.projection_cache import CACHED_INPUTS, cache_projections

X, T = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(7)
TOKENS, WIDTH = 5, 16


@pytest.fixture
def unet() -> Any:
    torch.manual_seed(0)
    model: Any = UNet2DConditionModel(
        block_out_channels=(16, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return model.eval().requires_grad_(False)


def prompt(seed: int) -> Tensor:
    return torch.randn(2, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def predict(unet: Any, embeddings: Tensor) -> Tensor:
    predicted: Tensor = unet(X, T, embeddings).sample
    return predicted


def projections(unet: Any) -> list[Any]:
    return [m for name, m in unet.named_modules() if name.endswith(("attn2.to_k", "attn2.to_v"))]


def test_predictions_are_the_models_own_bit_by_bit(unet: Any) -> None:
    prompts = [prompt(seed) for seed in range(CACHED_INPUTS + 2)]
    plain = [predict(unet, embeddings) for embeddings in prompts]
    cache_projections(unet)
    for _ in range(2):  # the second time from memory, but for those that are too many
        for embeddings, expected in zip(prompts, plain, strict=True):
            assert torch.equal(predict(unet, embeddings), expected)


def test_a_prompt_is_projected_once(unet: Any) -> None:
    cache_projections(unet)
    first, second = prompt(1), prompt(2)
    predict(unet, first)
    predict(unet, second)
    made = [[one.projection for one in layer.cached] for layer in projections(unet)]
    predict(unet, first)
    predict(unet, second)
    assert made
    for layer, before in zip(projections(unet), made, strict=True):
        assert all(one.projection is old for one, old in zip(layer.cached, before, strict=True))


@pytest.mark.parametrize("way", ["in place", "other memory"])
def test_weights_that_change_are_not_forgotten(unet: Any, way: str) -> None:
    cache_projections(unet)
    embeddings = prompt(1)
    before = predict(unet, embeddings)
    layer = projections(unet)[0]
    if way == "in place":
        layer.weight.detach()[2:4].mul_(3)  # a panel, as a LoRA's patch is written
    else:
        layer.weight.data = 3 * layer.weight.data
    after = predict(unet, embeddings)
    assert not torch.equal(after, before)
    assert torch.equal(after, predict(unet, embeddings.clone()))


def test_what_was_made_of_a_prompt_goes_with_the_next(unet: Any) -> None:
    cache_projections(unet)
    old = prompt(1)
    predict(unet, old)
    gone = weakref.ref(old)
    del old
    gc.collect()
    assert gone() is None, "nobody may be kept alive by being remembered"
    predict(unet, prompt(2))
    assert {len(layer.cached) for layer in projections(unet)} == {1}
