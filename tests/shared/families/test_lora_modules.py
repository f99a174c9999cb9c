"""What facts say of the modules that LoRAs train, held against the modules themselves."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import nn

from shared.families.base import Config
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.transformer import TransformerFacts
from shared.families.z_image import Z_IMAGE
from shared.storage.lora_modules import TRANSFORMER_PREFIXES, misfit, trained_modules
from shared.storage.safetensors_header import TensorInfo
from tests.tiny_transformers import make_flux, make_qwen_image, make_sd3, make_z_image
from workers.families.flux.lora_targets import flux_lora_targets
from workers.families.qwen_image.lora_targets import qwen_image_lora_targets
from workers.families.sd3.lora_targets import sd3_lora_targets
from workers.families.transformer.lora_targets import TransformerLoraTargets
from workers.families.z_image.lora_targets import z_image_lora_targets

Targets = Callable[[Mapping[str, nn.Module]], TransformerLoraTargets]


class Known(NamedTuple):
    """A family, a transformer of it, and how its LoRAs name modules."""

    facts: TransformerFacts
    make: Callable[[], Any]
    targets: Targets
    #: By what parts of names that the authors' tables do not have, as no file of that kind names them so.
    of_others: tuple[str, ...] = ()


def make_dual_sd3() -> SD3Transformer2DModel:
    """One of SD3.5 medium's kind, without weights."""
    config = {**make_sd3().transformer.config, "qk_norm": "rms_norm", "dual_attention_layers": (0,)}
    with torch.device("meta"):
        return SD3Transformer2DModel.from_config(config)


FAMILIES = {
    "flux": Known(
        FLUX, lambda: make_flux().transformer, flux_lora_targets, ("processor_qkv", "processor_proj")
    ),
    "sd3": Known(SD3, make_dual_sd3, sd3_lora_targets),
    "qwen-image": Known(QWEN_IMAGE, lambda: make_qwen_image().transformer, qwen_image_lora_targets),
    "z-image": Known(Z_IMAGE, lambda: make_z_image().transformer, z_image_lora_targets),
}


@pytest.fixture(scope="module", params=FAMILIES)
def known(request: pytest.FixtureRequest) -> Known:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def transformer(known: Known) -> Any:
    """Nobody changes it."""
    return known.make()


def header(transformer: Any, targets: Targets, prefix: str = "transformer.") -> dict[str, TensorInfo]:
    """Of a LoRA that trains every module, by diffusers' names and by the authors'."""
    shapes = {
        name: tuple(module.weight.shape)
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear)
    }
    for original in targets({"transformer": transformer}).original_modules(transformer):
        found = [shapes[name] for name in original.ours if name in shapes]
        if len(found) == len(original.ours):
            shapes[original.name] = (sum(shape[0] for shape in found), found[0][1])
    tensors = {}
    for name, (outputs, inputs) in shapes.items():
        spelt = name.replace(".", "_") if prefix.endswith("_") else name
        tensors[f"{prefix}{spelt}.lora_down.weight"] = TensorInfo("F32", (4, inputs), (0, 0))
        tensors[f"{prefix}{spelt}.lora_up.weight"] = TensorInfo("F32", (outputs, 4), (0, 0))
    return tensors


@pytest.mark.parametrize("prefix", ["", *TRANSFORMER_PREFIXES])
def test_all_modules_of_a_model_fit_it(known: Known, transformer: Any, prefix: str) -> None:
    trained = trained_modules(header(transformer, known.targets, prefix))
    assert misfit(trained, known.facts, transformer.config) is None
    # And each width that the facts have was compared with one of the model's
    named = {name for name in known.facts.lora_widths if not _has(name, known.of_others)}
    assert named <= trained.widths.keys()
    assert trained.blocks.keys() == known.facts.lora_blocks(transformer.config).keys()


def _has(name: str, words: Iterable[str]) -> bool:
    return any(word in name for word in words)


#: Configs of models of twice the width.
WIDER: Mapping[str, Callable[[Config], dict[str, Any]]] = {
    "flux": lambda config: {"num_attention_heads": 2 * config["num_attention_heads"]},
    "sd3": lambda config: {"num_attention_heads": 2 * config["num_attention_heads"]},
    "qwen-image": lambda config: {"num_attention_heads": 2 * config["num_attention_heads"]},
    "z-image": lambda config: {"dim": 2 * config["dim"]},
}


def test_each_module_alone_that_has_another_width_is_refused(known: Known, transformer: Any) -> None:
    wider = {**transformer.config, **WIDER[known.facts.name](transformer.config)}
    tensors, width = header(transformer, known.targets), known.facts.token_width(transformer.config)
    refused = set()
    for key, info in tensors.items():
        why = misfit(trained_modules({key: info}), known.facts, wider)
        if why is not None:
            refused |= trained_modules({key: info}).widths.keys()
            assert f"that of the model, {known.facts.label}, has " in why
            assert str(max(info.shape)) in why
    assert refused >= {name for name in known.facts.lora_widths if not _has(name, known.of_others)}
    assert width > 1


def test_blocks_that_a_model_does_not_have_are_refused(known: Known, transformer: Any) -> None:
    trained = trained_modules(header(transformer, known.targets))
    for field in ("num_layers", "num_single_layers", "n_layers", "n_refiner_layers"):
        if field in transformer.config:
            fewer = {**transformer.config, field: transformer.config[field] - 1}
            why = misfit(trained, known.facts, fewer)
            assert why is not None
            assert f"up to number {transformer.config[field] - 1}; the model, {known.facts.label}" in why
