"""At Flux's own size, without its weights: what diffusers' converters make of a file is what ours adds.

They take Flux's width and its number of blocks for given, so a small model cannot be judged by them.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor

from shared.errors import InvalidLora
from tests.workers.families.flux.originals import original_shapes
from tests.workers.lora import pipelines
from tests.workers.lora.pipelines import kohya, peft
from workers.families.flux.lora_targets import flux_lora_targets
from workers.lora.formats.parser import read_lora

RANK = 2
#: diffusers' converter of BFL's form swaps the halves of the *first* factor of this layer as well, and so
#: makes another product of it. Of kohya's form it leaves out the alphas of the last two layers.
FINAL = "norm_out.linear.weight"


@functools.cache
def flux() -> Any:
    with torch.device("meta"):
        return FluxTransformer2DModel(guidance_embeds=True)


def bfl_control(shapes: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    """With the norms that a control LoRA has, whose converter asks for them."""
    norms = [f"double_blocks.{i}.{stream}_attn.norm" for i in range(19) for stream in ("img", "txt")]
    norms += [f"single_blocks.{i}.norm" for i in range(38)]
    scales = {f"{norm}.{kind}_norm.scale": torch.ones(128) for norm in norms for kind in ("query", "key")}
    return peft(shapes, "", rank=RANK) | scales


def fal_kontext(shapes: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    within = ("double_blocks", "single_blocks", "final_layer.linear")
    return peft(
        {name: shapes[name] for name in shapes if name.startswith(within)}, "base_model.model.", rank=RANK
    )


FORMS: dict[str, Callable[[dict[str, tuple[int, int]]], dict[str, Tensor]]] = {
    "kohya": lambda shapes: {
        key: tensor
        for key, tensor in kohya(shapes, "lora_unet_", rank=RANK).items()
        if not (key.endswith("alpha") and "final_layer" in key)
    },
    "BFL control": bfl_control,
    "fal": fal_kontext,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_layer_of_a_file_adds_what_diffusers_converts_it_to(tmp_path: Path, form: str) -> None:
    tensors = FORMS[form](original_shapes(flux().config))
    theirs = converted(tensors)
    readable = {key: tensor for key, tensor in tensors.items() if not key.endswith("_norm.scale")}
    lora = read_lora(
        pipelines.write(tmp_path / "lora.safetensors", readable), flux_lora_targets({"transformer": flux()})
    )
    ours = lora.parts["transformer"]
    assert ours.keys() == theirs.keys()
    assert len(ours) > 490
    for name in theirs.keys() - ({FINAL} if form == "BFL control" else set()):
        a, b = theirs[name]
        delta = ours[name]
        x = torch.randn(a.shape[1])
        expected, change = b @ (a @ x), delta.scaling * (delta.tensors["b"] @ (delta.tensors["a"] @ x))
        torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-5, msg=name)


def test_a_control_lora_is_refused_by_its_norms(tmp_path: Path) -> None:
    path = pipelines.write(tmp_path / "lora.safetensors", bfl_control(original_shapes(flux().config)))
    with pytest.raises(InvalidLora, match=r"no part of a LoRA for this model.*query_norm.scale"):
        read_lora(path, flux_lora_targets({"transformer": flux()}))


def test_no_two_modules_of_flux_have_the_same_name_in_a_file() -> None:
    model = flux()
    stems = [name for name, _ in model.named_modules()] + list(original_shapes(model.config))
    flat = [stem.replace(".", "_") for stem in stems]
    assert len(set(flat)) == len(flat)


def converted(tensors: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """diffusers' factors by the weight that they change, also those that it then leaves out."""
    state: Any = FluxPipeline.lora_state_dict({key: tensor.clone() for key, tensor in tensors.items()})
    state = state[0] if isinstance(state, tuple) else state
    pairs = {}
    for key, a in state.items():
        if key.endswith(".lora_A.weight"):
            stem = key.removesuffix(".lora_A.weight")
            pairs[f"{stem.removeprefix('transformer.')}.weight"] = (a, state[f"{stem}.lora_B.weight"])
    return pairs
