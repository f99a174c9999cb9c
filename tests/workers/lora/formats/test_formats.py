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
from lycoris.modules.norms import NormModule
from torch import nn

from shared.errors import InvalidLora
from tests.tiny_models import make_unet
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora
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
        lora = read_lora(
            write({f"{stem}.{key}": tensor for key, tensor in stored.items()}),
            UNetLoraTargets({"unet": unet}),
        )
        patcher = Patcher({"unet": unet})
        patcher.apply([(lora, 1.0)])
        ours = target(x)
        assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()
        assert (plain - theirs).abs().max() > 0.05
        patcher.restore()
        assert torch.equal(target(x), plain)


NORMS = {
    "group norm": "up_blocks.1.resnets.0.norm2",
    "group norm of an attention": "mid_block.attentions.0.norm",
    "layer norm": "down_blocks.0.attentions.0.transformer_blocks.0.norm2",
}


@pytest.mark.parametrize("layer", NORMS)
@pytest.mark.parametrize("roles", [["w_norm", "b_norm"], ["w_norm"], ["b_norm"]])
def test_a_trained_norm_computes_what_lycoris_does(
    base: nn.Module, write: Callable[..., Path], layer: str, roles: list[str]
) -> None:
    unet = copy.deepcopy(base)
    name = NORMS[layer]
    target = unet.get_submodule(name)
    torch.manual_seed(0)
    module: Any = NormModule("x", copy.deepcopy(target), 1.0).eval()
    with torch.no_grad():
        for role in roles:
            getattr(module, role).normal_(std=0.3)
        width = len(target.weight)
        x = torch.randn(2, *((width, 8, 8) if "group" in layer else (16, width)))
        plain, theirs = target(x), module(x)
        stored = {key: value for key, value in module.state_dict().items() if key in roles}
        assert stored.keys() == set(roles)
        stem = f"lora_unet_{name.replace('.', '_')}"
        lora = read_lora(
            write({f"{stem}.{key}": tensor for key, tensor in stored.items()}),
            UNetLoraTargets({"unet": unet}),
        )
        patcher = Patcher({"unet": unet})
        patcher.apply([(lora, 1.0)])
        assert (target(x) - theirs).abs().max() < 1e-5 * theirs.abs().max()
        assert (plain - theirs).abs().max() > 0.05
        patcher.restore()
        assert torch.equal(target(x), plain)


@pytest.mark.parametrize(
    "roles", [{"lora_down.weight": (4, 64), "lora_up.weight": (64, 4)}, {"lokr_w1": (64,)}]
)
def test_a_norm_takes_only_differences(
    base: nn.Module, write: Callable[..., Path], roles: dict[str, tuple[int, ...]]
) -> None:
    stem = f"lora_unet_{NORMS['group norm'].replace('.', '_')}"
    with pytest.raises(InvalidLora, match=stem):
        read_lora(
            write({f"{stem}.{role}": torch.ones(size) for role, size in roles.items()}),
            UNetLoraTargets({"unet": base}),
        )


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
        with pytest.raises(InvalidLora, match=f"{stem}.{wrong}'? has the shape"):
            read_lora(file, UNetLoraTargets({"unet": base}))


FLOATS = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
]


PARSED = ("lora", "lora, tucker", "loha, tucker", "lokr, both factored", "dora, rows")
#: Each kind with three types of numbers in turn, so that each type meets at least two kinds.
TYPED = [(kind, FLOATS[(3 * i + j) % len(FLOATS)]) for i, kind in enumerate(PARSED) for j in range(3)]


@pytest.mark.parametrize(("kind", "dtype"), TYPED, ids=str)
def test_a_parsed_file_takes_as_many_bytes_as_in_the_file_and_counts_as_its_numbers_do(
    base: nn.Module, write: Callable[..., Path], kind: str, dtype: torch.dtype
) -> None:
    unet, name = copy.deepcopy(base), LAYERS["3x3"]
    stored = trained(kind, copy.deepcopy(unet.get_submodule(name))).custom_state_dict()
    stem = f"lora_unet_{name.replace('.', '_')}"
    small = {f"{stem}.{key}": value.to(dtype) for key, value in stored.items() if value is not None}
    reserved: list[int] = []
    file = write(small)
    lora = read_lora(file, UNetLoraTargets({"unet": unet}), reserve=reserved.append)
    data_bytes = sum(value.nbytes for value in small.values())
    [change] = lora.parts["unet"].values()
    assert reserved == [data_bytes]
    assert lora.nbytes == data_bytes - small[f"{stem}.alpha"].nbytes
    assert {tensor.dtype for tensor in change.tensors.values()} == {dtype}
    # Its numbers in float32 make the same weight
    patcher, weight = Patcher({"unet": unet}), unet.get_parameter(f"{name}.weight")
    patcher.apply([(lora, 0.7)])
    patched = weight.clone()
    wide = read_lora(
        write({key: value.float() for key, value in small.items()}), UNetLoraTargets({"unet": unet})
    )
    patcher.apply([(wide, 0.7)])
    assert torch.equal(weight, patched)


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.uint8, torch.int32, torch.bool, torch.complex64], ids=str
)
def test_quantised_files_are_refused_by_name(
    base: nn.Module, write: Callable[..., Path], dtype: torch.dtype
) -> None:
    stem = f"lora_unet_{LAYERS['1x1'].replace('.', '_')}"
    tensors = {f"{stem}.lora_down.weight": torch.ones(4, 64), f"{stem}.lora_up.weight": torch.ones(64, 4)}
    with pytest.raises(InvalidLora, match=rf"no floating point numbers: {stem}\.lora_up\.weight \("):
        read_lora(
            write(tensors | {f"{stem}.lora_up.weight": torch.ones(64, 4).to(dtype)}),
            UNetLoraTargets({"unet": base}),
        )
