"""LoHa and LoKr of each family change every layer by what LyCORIS computes with them.

Of these formats diffusers converts LoKr alone, and for Z-Image alone; there it is the judge as well.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from torch import Tensor, nn

from shared.errors import InvalidLora
from tests.tiny_transformers import make_flux, make_qwen_image, make_sd3, make_z_image
from tests.workers.lora import pipelines
from workers.families.flux.lora_targets import flux_lora_targets
from workers.families.qwen_image.lora_targets import qwen_image_lora_targets
from workers.families.sd3.lora_targets import sd3_lora_targets
from workers.families.z_image.lora_targets import z_image_lora_targets
from workers.lora.formats.parser import read_lora


class Model(NamedTuple):
    """A transformer, and how its LoRAs are read."""

    make: Callable[[], Any]
    targets: pipelines.MakeTargets


MODELS = {
    "flux": Model(lambda: make_flux(layers=(1, 1)), flux_lora_targets),
    "sd3": Model(lambda: make_sd3(layers=2, dual_attention=True), sd3_lora_targets),
    "qwen_image": Model(lambda: make_qwen_image(layers=1), qwen_image_lora_targets),
    "z_image": Model(lambda: make_z_image(layers=1), z_image_lora_targets),
}
FORMATS: dict[str, tuple[Any, dict[str, Any]]] = {
    "LoHa": (LohaModule, {}),
    "LoKr": (LokrModule, {"factor": 4}),
    "LoKr, both factored": (LokrModule, {"factor": 16, "lora_dim": 2, "decompose_both": True}),
    "LoKr, nothing factored": (LokrModule, {"factor": 4, "full_matrix": True}),
}
NAMES: dict[str, Callable[[str], str]] = {
    "LyCORIS": lambda name: f"lycoris_{name.replace('.', '_')}",
    "kohya": lambda name: f"lora_unet_{name.replace('.', '_')}",
    "ComfyUI": lambda name: f"diffusion_model.{name}",
    "diffusers": lambda name: f"transformer.{name}",
}


class Trained(NamedTuple):
    """Of every linear layer of a transformer: tensors by role, and what they add to its weight."""

    stored: dict[str, dict[str, Tensor]]
    added: dict[str, Tensor]


@torch.no_grad()
def train(transformer: nn.Module, kind: str) -> Trained:
    """LyCORIS' modules around the layers, with numbers as after training."""
    make, options = FORMATS[kind]
    torch.manual_seed(0)
    trained = Trained({}, {})
    for name, layer in transformer.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        module = make("x", layer, 1.0, **{"lora_dim": 4, "alpha": 6.0, **options}).eval()
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        stored = module.custom_state_dict()
        trained.stored[name] = {role: tensor for role, tensor in stored.items() if tensor is not None}
        units = torch.eye(layer.in_features)
        trained.added[f"{name}.weight"] = (module(units) - layer(units)).T
    return trained


Family = tuple[nn.Module, pipelines.MakeTargets]


@pytest.fixture(scope="module", params=MODELS)
def family(request: pytest.FixtureRequest) -> Family:
    model = MODELS[request.param]
    return model.make().transformer.requires_grad_(False), model.targets


@pytest.fixture(scope="module", params=FORMATS)
def trained(request: pytest.FixtureRequest, family: Family) -> Trained:
    return train(family[0], request.param)


@pytest.mark.parametrize("names", NAMES)
def test_every_layer_changes_by_what_lycoris_computes(
    family: Family, trained: Trained, tmp_path: Path, names: str
) -> None:
    transformer, targets = family
    tensors = {
        f"{NAMES[names](name)}.{role}": tensor
        for name, roles in trained.stored.items()
        for role, tensor in roles.items()
    }
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    added = pipelines.changes(read_lora(path, targets({"transformer": transformer})))
    assert added.keys() == trained.added.keys()
    for name, change in trained.added.items():
        assert float(change.abs().max()) > 0.01
        torch.testing.assert_close(added[name], change, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", ["LoHa", "LoKr"])
def test_one_that_lacks_a_factor_is_refused_by_its_keys(family: Family, tmp_path: Path, kind: str) -> None:
    transformer, targets = family
    name, roles = next(iter(train(transformer, kind).stored.items()))
    lacking = "hada_w2_b" if kind == "LoHa" else "lokr_w1"
    tensors = {f"transformer.{name}.{role}": one for role, one in roles.items() if role != lacking}
    path = pipelines.write(tmp_path / "lora.safetensors", tensors)
    with pytest.raises(InvalidLora, match=rf"do not go together: transformer\.{name}"):
        read_lora(path, targets({"transformer": transformer}))
