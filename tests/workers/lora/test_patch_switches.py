"""Hundreds of switches between random sets of LoRAs, some of which fail half-way, leave a model as it was."""

import random
from dataclasses import dataclass

import psutil
import pytest
import torch
from torch import Tensor, nn

from tests.tiny_models import make_unet
from tests.workers.lora.patchers import WRITERS
from workers.lora.formats.matrices import Matrix, ScratchBuffers
from workers.lora.lora_weights import LoraWeights
from workers.lora.patch import Patcher
from workers.lora.weight_delta import WeightDelta

SWITCHES = 300
LAYERS = [
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.resnets.0.conv1",
    "mid_block.attentions.0.proj_in",
    "up_blocks.1.attentions.1.transformer_blocks.0.ff.net.2",
    "conv_out",
]


@dataclass(frozen=True)
class BrokenDelta:
    """Fails once it has written to some rows."""

    def add_to(self, total: Tensor, rows: slice, factor: float, scratch: ScratchBuffers) -> None:
        total[:1] += 1.0
        raise OSError("no memory")


class Broken(WeightDelta):
    """A change that can be begun and not be finished."""

    def matrix(self) -> Matrix:
        return BrokenDelta()


def tensors_for(weight: Tensor, choice: random.Random) -> dict[str, Tensor]:
    out, columns = len(weight), weight[0].numel()
    kinds = {
        "low rank": {"a": (4, *weight.shape[1:]), "b": (out, 4)},
        "hadamard": {
            "hada_w1_a": (out, 2),
            "hada_w1_b": (2, columns),
            "hada_w2_a": (out, 2),
            "hada_w2_b": (2, columns),
        },
        "kronecker": {"lokr_w1": (2, 2), "lokr_w2": (out // 2, columns // 2)},
        "full": {"diff": weight.shape},
    }
    shapes = kinds[choice.choice(sorted(kinds))]
    return {role: torch.randn(shape) for role, shape in shapes.items()}


def random_lora(unet: nn.Module, name: str, choice: random.Random, *, fails: bool = False) -> LoraWeights:
    changes: dict[str, WeightDelta] = {}
    for layer in choice.sample(LAYERS, 3):
        weight = unet.get_parameter(f"{layer}.weight")
        norms = torch.rand(len(weight), 1) + 0.5 if choice.random() < 0.3 else None
        changes[f"{layer}.weight"] = WeightDelta(tensors_for(weight, choice), weight.shape, 0.1, norms)
        if choice.random() < 0.3 and unet.get_submodule(layer).bias is not None:
            bias = {"diff": torch.randn(len(weight))}
            changes[f"{layer}.bias"] = WeightDelta(bias, torch.Size([len(weight)]), 0.1)
    if fails:
        changes[choice.choice(list(changes))] = Broken({}, torch.Size(), 1.0)
    return LoraWeights(name, {"unet": changes})


def weights_of(unet: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in unet.named_parameters()}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_no_switch_leaves_anything_of_the_ones_before(writer: str, dtype: torch.dtype) -> None:
    choice = random.Random(7)
    torch.manual_seed(7)
    unet = make_unet().to(dtype)
    base = weights_of(unet)
    whole = [random_lora(unet, f"lora{i}", choice) for i in range(8)]
    broken = [random_lora(unet, f"broken{i}", choice, fails=True) for i in range(3)]
    first: dict[str, dict[str, Tensor]] = {}
    patcher, failures = WRITERS[writer]({"unet": unet}), 0
    pristine_bytes = rss_bytes = 0
    for i in range(SWITCHES):
        if i == SWITCHES // 2:
            first.clear()
            pristine_bytes, rss_bytes = patcher.pristine_bytes, psutil.Process().memory_info().rss
        wanted = [(lora, choice.choice([0.5, 1.0])) for lora in choice.sample(whole, choice.randint(0, 2))]
        if choice.random() < 0.2:
            wanted.insert(choice.randint(0, len(wanted)), (choice.choice(broken), 1.0))
            with pytest.raises(OSError, match="no memory"):
                patcher.apply(wanted)
            failures += 1
            continue
        patcher.apply(wanted)
        if i % 10 == 0:
            # The same set makes the same weights, whatever was there before
            held = str([(lora.sha256, scale) for lora, scale in wanted])
            now, then = weights_of(unet), first.setdefault(held, weights_of(unet))
            assert all(torch.equal(now[name], then[name]) for name in now), held
            patcher.restore()
            assert all(torch.equal(weight, base[name]) for name, weight in unet.named_parameters()), i
    first.clear()
    assert failures > SWITCHES // 10
    assert patcher.pristine_bytes == pristine_bytes <= sum(weight.nbytes for weight in base.values())
    assert psutil.Process().memory_info().rss < rss_bytes + 50e6


def test_a_patch_asks_nothing_of_a_device_but_what_every_device_has() -> None:
    # Given a device that is neither a CPU nor CUDA's: tensors on it have shapes, and no numbers
    choice = random.Random(7)
    whole = [random_lora(make_unet(), f"lora{i}", choice) for i in range(8)]
    unet = make_unet().to("meta")
    patcher = Patcher({"unet": unet})
    for lora in whole:
        patcher.prepare(lora)
    # Then every kind of change is moved there and written there
    assert patcher.apply([(lora, 0.5) for lora in whole])
    assert patcher.apply([])
    assert {weight.device.type for weight in unet.parameters()} == {"meta"}
