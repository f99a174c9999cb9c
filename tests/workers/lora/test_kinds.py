"""Each kind of LoRA does to a layer what LyCORIS computes with it, which is who trains most of them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lycoris.modules.full import FullModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from torch import nn

from shared.errors import InvalidLora
from tests.tiny_models import make_unet
from workers.lora.files import read_lora
from workers.lora.patch import Patcher

RANK, ALPHA = 4, 6.0
LAYERS = {
    "linear": "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "1x1": "mid_block.attentions.0.proj_in",
    "3x3": "down_blocks.0.resnets.0.conv1",
    "strided": "down_blocks.0.downsamplers.0.conv",
}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lora": (LoConModule, {}),
    "lora, tucker": (LoConModule, {"use_tucker": True}),
    "lora, scalar": (LoConModule, {"use_scalar": True}),
    "lora, rank-stabilised": (LoConModule, {"rs_lora": True}),
    "dora, rows": (LoConModule, {"weight_decompose": True}),
    "dora, inputs": (LoConModule, {"weight_decompose": True, "wd_on_out": False}),
    "loha": (LohaModule, {}),
    "loha, tucker": (LohaModule, {"use_tucker": True}),
    "loha, dora": (LohaModule, {"weight_decompose": True}),
    "lokr": (LokrModule, {"factor": 4}),
    "lokr, both factored": (LokrModule, {"factor": 16, "lora_dim": 2, "decompose_both": True}),
    "lokr, tucker": (LokrModule, {"factor": 4, "use_tucker": True}),
    "lokr, nothing factored": (LokrModule, {"factor": 4, "full_matrix": True}),
    "lokr, unbalanced": (LokrModule, {"factor": 8, "unbalanced_factorization": True}),
    "lokr, dora of inputs": (LokrModule, {"factor": 4, "weight_decompose": True, "wd_on_out": False}),
    "full, with bias": (FullModule, {}),
}


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return make_unet()


def trained(kind: str, layer: nn.Module) -> Any:
    """LyCORIS' module around ``layer``, with numbers as after training."""
    make, options = KINDS[kind]
    torch.manual_seed(0)
    module = make("x", layer, 1.0, **{"lora_dim": RANK, "alpha": ALPHA, **options}).eval()
    if make is FullModule:
        module.apply_to()  # it trains a copy of the layer, and stores the difference
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return module


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_patched_layer_computes_what_lycoris_does(
    base: nn.Module, write: Callable[..., Path], kind: str, layer: str
) -> None:
    unet = copy.deepcopy(base)
    name = LAYERS[layer]
    target = unet.get_submodule(name)
    module = trained(kind, copy.deepcopy(target))
    x = torch.randn(2, target.weight.shape[1], *((8, 8) if target.weight.dim() == 4 else ()))
    with torch.no_grad():
        plain, theirs = target(x), module(x)
        stored = {k: v for k, v in module.custom_state_dict().items() if v is not None}
        stem = f"lora_unet_{name.replace('.', '_')}"
        lora = read_lora(write({f"{stem}.{key}": tensor for key, tensor in stored.items()}), {"unet": unet})
        patcher = Patcher({"unet": unet})
        patcher.apply([(lora, 1.0)])
        ours = target(x)
        assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()
        assert (plain - theirs).abs().max() > 0.05
        patcher.restore()
        assert torch.equal(target(x), plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", ["cut", "transposed", "empty"])
def test_tensors_that_do_not_fit_are_named_with_their_shapes(
    base: nn.Module, write: Callable[..., Path], kind: str, change: str
) -> None:
    layer = base.get_submodule(LAYERS["3x3"])
    stored = dict(trained(kind, copy.deepcopy(layer)).custom_state_dict())
    stem = f"lora_unet_{LAYERS['3x3'].replace('.', '_')}"
    for wrong in stored.keys() - {"alpha"}:
        tensor = stored[wrong]
        damage = {
            "cut": tensor[:, :-1] if tensor.dim() > 1 else tensor[:-1],
            "transposed": tensor[None],
            "empty": tensor[:0],
        }
        file = write({f"{stem}.{key}": value for key, value in (stored | {wrong: damage[change]}).items()})
        with pytest.raises(InvalidLora, match=f"{stem}.{wrong} has the shape"):
            read_lora(file, {"unet": base})
