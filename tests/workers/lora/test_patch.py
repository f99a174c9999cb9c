"""Patched weights are diffusers' fused ones, and unpatched weights are the base's to the bit."""

import copy
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from tests.workers.lora.conftest import Fused, parts, weights_of
from tests.workers.lora.patchers import WRITERS, MakePatcher
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.matrices import LowRank
from workers.lora.formats.parser import read_lora
from workers.lora.lora_weights import LoraWeights
from workers.lora.patch import Patcher
from workers.lora.weight_delta import WeightDelta

NAMES = ["twemoji", "outline", "outline.kohya"]


@pytest.fixture(params=WRITERS)
def make_patcher(request: pytest.FixtureRequest) -> MakePatcher:
    return WRITERS[request.param]


@pytest.fixture
def patcher(pipe: StableDiffusionPipeline, make_patcher: MakePatcher) -> Iterator[Patcher]:
    patcher = make_patcher(parts(pipe))
    yield patcher
    patcher.restore()


@pytest.fixture
def weights(pipe: StableDiffusionPipeline) -> Callable[[], dict[str, Tensor]]:
    return lambda: weights_of(parts(pipe))


@pytest.fixture
def read(pipe: StableDiffusionPipeline, lora_file: Callable[[str], Path]) -> Callable[[str], LoraWeights]:
    return lambda name: read_lora(lora_file(name), UNetLoraTargets(parts(pipe)))


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name].float() - other[name].float()).abs().max().item() for name in one)


@pytest.mark.parametrize("name", NAMES)
def test_a_patched_model_is_the_one_diffusers_fuses(
    patcher: Patcher,
    weights: Callable[[], dict[str, Tensor]],
    read: Callable[[str], LoraWeights],
    fused: Fused,
    lora_file: Callable[[str], Path],
    name: str,
) -> None:
    base = weights()
    patcher.apply([(read(name), 0.7)])
    assert furthest(weights(), fused((lora_file(name), 0.7))) < 1e-6
    assert furthest(weights(), base) > 0.05
    patcher.restore()
    assert furthest(weights(), base) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_file_of_another_precision_is_patched_as_diffusers_fuses_it(
    pipe: StableDiffusionPipeline,
    patcher: Patcher,
    weights: Callable[[], dict[str, Tensor]],
    fused: Fused,
    lora_file: Callable[[str], Path],
    write: Callable[..., Path],
    dtype: torch.dtype,
) -> None:
    trained = load_file(lora_file("outline.kohya"))  # its factors are float16, its alphas float32
    path = write({key: tensor.to(dtype) for key, tensor in trained.items()})
    patcher.apply([(read_lora(path, UNetLoraTargets(parts(pipe))), 0.7)])
    assert furthest(weights(), fused((path, 0.7))) < 1e-6


def test_two_loras_add_up_without_cross_terms_as_in_diffusers(
    patcher: Patcher,
    weights: Callable[[], dict[str, Tensor]],
    read: Callable[[str], LoraWeights],
    fused: Fused,
    lora_file: Callable[[str], Path],
) -> None:
    patcher.apply([(read("outline"), 0.8), (read("twemoji"), -0.4)])
    assert furthest(weights(), fused((lora_file("outline"), 0.8), (lora_file("twemoji"), -0.4))) < 1e-5


def test_pefts_configuration_in_the_header_counts_as_in_diffusers(
    pipe: StableDiffusionPipeline,
    patcher: Patcher,
    weights: Callable[[], dict[str, Tensor]],
    fused: Fused,
    lora_file: Callable[[str], Path],
    write: Callable[..., Path],
) -> None:
    tensors = load_file(lora_file("twemoji"))
    config = {
        "r": 8,
        "lora_alpha": 12,
        "rank_pattern": {},
        "alpha_pattern": {"attentions.0.proj_in": 3, "attn2.to_k": 20},
        "target_modules": sorted({key.removeprefix("unet.").split(".lora_")[0] for key in tensors}),
        "use_rslora": True,
    }
    header = json.dumps({f"unet.{option}": value for option, value in config.items()})
    path = write(tensors, {"format": "pt", "lora_adapter_metadata": header})
    patcher.apply([(read_lora(path, UNetLoraTargets(parts(pipe))), 0.5)])
    assert furthest(weights(), fused((path, 0.5))) < 1e-6
    assert furthest(weights(), fused((lora_file("twemoji"), 0.5))) > 0.01


def test_one_patch_replaces_another_and_leaves_nothing_of_it(
    patcher: Patcher, weights: Callable[[], dict[str, Tensor]], read: Callable[[str], LoraWeights]
) -> None:
    base = weights()
    outline, twemoji = read("outline"), read("twemoji")
    patcher.apply([(twemoji, 1.0)])
    alone = weights()
    patcher.apply([(outline, 1.0), (twemoji, 0.5)])
    patcher.apply([(twemoji, 1.0)])
    assert furthest(weights(), alone) == 0
    assert patcher.patched == ((twemoji.sha256, 1.0),)
    for _ in range(5):
        patcher.apply([(outline, 0.3)])
        patcher.apply([(twemoji, 3.0), (outline, -2.0)])
    patcher.restore()
    assert patcher.patched == ()
    assert furthest(weights(), base) == 0


def test_a_patch_writes_into_the_same_parameters(
    pipe: StableDiffusionPipeline, patcher: Patcher, read: Callable[[str], LoraWeights]
) -> None:
    def places() -> list[tuple[int, int]]:
        return [(id(weight), weight.data_ptr()) for weight in pipe.unet.parameters()]

    # The first patch moves weights away from their file, once
    parameters = list(pipe.unet.parameters())
    patcher.apply([(read("outline"), 1.0)])
    before = places()
    assert all(one is other for one, other in zip(parameters, pipe.unet.parameters(), strict=True))
    patcher.apply([(read("outline"), 0.5)])
    assert places() == before
    patcher.restore()
    assert places() == before


def test_an_interrupted_patch_can_be_taken_back_and_replaced(
    patcher: Patcher, weights: Callable[[], dict[str, Tensor]], read: Callable[[str], LoraWeights]
) -> None:
    base = weights()
    outline, twemoji = read("outline"), read("twemoji")
    unet = outline.parts["unet"]
    wrong = WeightDelta({"a": torch.zeros(1, 3), "b": torch.zeros(5, 1)}, torch.Size([5, 3]), 1.0)
    broken = LoraWeights("broken", {"unet": {**unet, list(unet)[-1]: wrong}})
    with pytest.raises(RuntimeError):
        patcher.apply([(broken, 1.0)])
    assert furthest(weights(), base) > 0.05
    patcher.restore()
    assert furthest(weights(), base) == 0
    # The same, with a patch in the weights before, and one after
    patcher.apply([(twemoji, 1.0)])
    patched = weights()
    with pytest.raises(RuntimeError):
        patcher.apply([(broken, 1.0)])
    patcher.apply([(twemoji, 1.0)])
    assert furthest(weights(), patched) == 0


def test_pristine_weights_are_copied_ahead_while_another_lora_is_in_the_model(
    pipe: StableDiffusionPipeline,
    weights: Callable[[], dict[str, Tensor]],
    read: Callable[[str], LoraWeights],
    make_patcher: MakePatcher,
) -> None:
    base = weights()
    patcher = make_patcher(parts(pipe))
    outline, twemoji = read("outline"), read("twemoji")
    try:
        with ThreadPoolExecutor() as pool:
            copying = pool.submit(patcher.prepare, outline)
            patcher.apply([(twemoji, 1.0)])
            copying.result()
        patcher.apply([(outline, 1.0)])
        patched = weights()
    finally:
        patcher.restore()
    assert furthest(weights(), base) == 0
    patcher.apply([(outline, 1.0)])
    assert furthest(weights(), patched) == 0
    patcher.restore()


def test_the_pristine_weights_stay_pristine_in_any_grad_mode(
    patcher: Patcher, weights: Callable[[], dict[str, Tensor]], read: Callable[[str], LoraWeights]
) -> None:
    base, outline = weights(), read("outline")
    with torch.inference_mode():
        patcher.apply([(outline, 1.0)])
    with torch.no_grad():
        patcher.apply([(outline, 0.5)])
    patcher.restore()
    assert furthest(weights(), base) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(
    pipe: StableDiffusionPipeline, read: Callable[[str], LoraWeights], dtype: torch.dtype
) -> None:
    unet = copy.deepcopy(pipe.unet).to(dtype)
    base = {name: weight.clone() for name, weight in unet.state_dict().items()}
    outline, twemoji = read("outline"), read("twemoji")
    patcher = Patcher({**copy.deepcopy(parts(pipe)), "unet": unet})
    patcher.apply([(outline, 0.7), (twemoji, 1.1)])
    for name, weight in unet.state_dict().items():
        exact = base[name].float()
        for lora, scale in ((outline, 0.7), (twemoji, 1.1)):
            change = lora.parts["unet"].get(name)
            if change is not None:
                delta = cast(LowRank, change.matrix())
                exact += scale * change.scaling * (delta.b @ delta.a).view(exact.shape)
        eps = torch.finfo(dtype).eps
        assert torch.allclose(weight.float(), exact, rtol=0.51 * eps, atol=1e-7), name
    patcher.restore()
    assert all(torch.equal(weight, base[name]) for name, weight in unet.state_dict().items())


def test_weights_in_another_memory_order_are_patched_in_place_too(
    pipe: StableDiffusionPipeline,
    patcher: Patcher,
    read: Callable[[str], LoraWeights],
    make_patcher: MakePatcher,
) -> None:
    own = copy.deepcopy(parts(pipe))
    unet: Any = own["unet"].to(memory_format=torch.channels_last)
    outline = read("outline")
    make_patcher(own).apply([(outline, 0.7)])
    patcher.apply([(outline, 0.7)])
    for one, other in zip(unet.parameters(), pipe.unet.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-6)
    assert not unet.mid_block.resnets[0].conv1.weight.is_contiguous()
