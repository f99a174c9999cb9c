"""What the header of a LoRA file tells of a transformer's modules: how wide they are, and of how many blocks.

A module's name has no number of a block, no prefix, and underscores in place of dots, as kohya writes it.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from shared.families.base import Config
from shared.families.transformer import TransformerFacts
from shared.storage.lora_base_model import iterate_cooperatively
from shared.storage.safetensors_header import TensorInfo

#: What may stand before the name of a transformer's module: diffusers', ComfyUI's and ai-toolkit's, kohya's,
#: OneTrainer's, and the one that LyCORIS itself writes. Without any it is a name all the same.
DIFFUSERS_PREFIX = "transformer."
TRANSFORMER_PREFIXES = (
    DIFFUSERS_PREFIX,
    "diffusion_model.",
    "model.diffusion_model.",
    "lora_unet_",
    "lora_transformer_",
    "lycoris_",
)
#: What PEFT writes before everything.
PEFT_PREFIX = "base_model.model."
#: The beginning of a name without any of them.
NAME_START = rf"^(?:{re.escape(PEFT_PREFIX)})?(?:{'|'.join(map(re.escape, TRANSFORMER_PREFIXES))})?"

_BLOCK = re.compile(
    NAME_START
    + r"((?:single_)?transformer_blocks|double_blocks|single_blocks|joint_blocks|layers|noise_refiner"
    r"|context_refiner)[._](\d{1,4})[._](.+)$"
)
_HEAD = re.compile(NAME_START + r"(proj_out|final_layer[._]linear)$")
#: The end of a key: which factor of its module it is.
_FACTOR = re.compile(
    r"(?:[._]lora(?:_linear_layer|\d)?[._](A|down|B|up)(?:\.\w+)?\.weight"
    r"|\.(hada_w1_[ab]|lokr_w[12](?:_[ab])?|diff)(?:\.weight)?)$"
)
#: Factors whose columns are inputs, and those whose rows are outputs; of a Kronecker product they multiply.
_OF_INPUTS = {"A", "down", "hada_w1_b", "diff", "lokr_w1", "lokr_w1_b", "lokr_w2", "lokr_w2_b"}
_OF_OUTPUTS = {"B", "up", "hada_w1_a", "diff", "lokr_w1", "lokr_w1_a", "lokr_w2", "lokr_w2_a"}
#: No family has as many kinds of modules.
_MAX_MODULES = 64


class TrainedModules(NamedTuple):
    """Of the first module of each name its inputs and outputs, 0 where they are not told; blocks by name."""

    widths: dict[str, tuple[int, int]]
    blocks: dict[str, int]  # one more than the highest number


def trained_modules(tensors: Mapping[str, TensorInfo]) -> TrainedModules:
    """The modules of a transformer that ``tensors`` are about."""
    inputs: dict[str, int] = defaultdict(lambda: 1)
    outputs: dict[str, int] = defaultdict(lambda: 1)
    names: dict[str, str] = {}
    blocks: dict[str, int] = {}
    for key in iterate_cooperatively(tensors):
        factor = _FACTOR.search(key)
        if factor is None:
            continue
        stem, role, shape = key[: factor.start()], factor[1] or factor[2], tensors[key].shape
        if (block := _BLOCK.match(stem)) is not None:
            blocks[block[1]] = max(blocks.get(block[1], 0), int(block[2]) + 1)
            names[stem] = f"{block[1]}_{block[3]}".replace(".", "_")
        elif (head := _HEAD.match(stem)) is not None:
            names[stem] = head[1].replace(".", "_")
        else:
            continue
        is_product = role.startswith("lokr_")
        if len(shape) > 1 and role in _OF_INPUTS:
            inputs[stem] = shape[1] * (inputs[stem] if is_product else 1)
        if len(shape) > 1 and role in _OF_OUTPUTS:
            outputs[stem] = shape[0] * (outputs[stem] if is_product else 1)
    widths: dict[str, tuple[int, int]] = {}
    for stem, name in names.items():
        if name in widths or len(widths) < _MAX_MODULES:
            widths.setdefault(name, (inputs.get(stem, 0), outputs.get(stem, 0)))
    return TrainedModules(widths, blocks)


def misfit(trained: TrainedModules, facts: TransformerFacts, config: Config) -> str | None:
    """Why modules of a LoRA cannot be those of a model whose denoiser has this config; None: they may be."""
    width = facts.token_width(config)
    for name, theirs in trained.widths.items():
        multiples = facts.lora_widths.get(name, (None, None))
        own = [multiple and multiple * width for multiple in multiples]
        for what, wanted, found in zip(("inputs", "outputs"), own, theirs, strict=True):
            if wanted and found and wanted != found:
                return f"trains {name} of {found} {what}; that of the model, {facts.label}, has {wanted}"
    for name, count in facts.lora_blocks(config).items():
        if trained.blocks.get(name, 0) > count:
            their = trained.blocks[name]
            return f"trains {name} up to number {their - 1}; the model, {facts.label}, has {count} of them"
    return None
