"""What the original Stable Diffusion calls a UNet's modules: its blocks are numbered through.

ComfyUI keeps these names, with dots. kohya's and LyCORIS' files have them with underscores: for SDXL always,
for SD 1 and SD 2 where LoCon's first extension has trained them.
"""

from collections.abc import Iterator
from typing import Any

_HEADS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def original_names(unet: Any) -> Iterator[tuple[str, str]]:
    """Pairs of the original name of a module and diffusers' name, for every module that has both."""
    modules = dict(unet.named_modules())
    yield from ((theirs, ours) for theirs, ours in _HEADS.items() if ours in modules)
    for theirs, ours in _stacks(unet):
        if ours in modules:
            for inner, _ in modules[ours].named_modules():
                yield _joined(theirs, _inner(inner)), _joined(ours, inner)


def _stacks(unet: Any) -> Iterator[tuple[str, str]]:
    """Resnets, attentions and what changes sizes."""
    number = 1  # conv_in is the first
    for i, block in enumerate(getattr(unet, "down_blocks", ())):
        for j in range(len(block.resnets)):
            yield f"input_blocks.{number}.0", f"down_blocks.{i}.resnets.{j}"
            yield f"input_blocks.{number}.1", f"down_blocks.{i}.attentions.{j}"
            number += 1
        if getattr(block, "downsamplers", None):
            yield f"input_blocks.{number}.0.op", f"down_blocks.{i}.downsamplers.0.conv"
            number += 1
    yield "middle_block.0", "mid_block.resnets.0"
    yield "middle_block.1", "mid_block.attentions.0"
    yield "middle_block.2", "mid_block.resnets.1"
    number = 0
    for i, block in enumerate(getattr(unet, "up_blocks", ())):
        has_attention = bool(getattr(block, "attentions", None))
        for j in range(len(block.resnets)):
            yield f"output_blocks.{number}.0", f"up_blocks.{i}.resnets.{j}"
            yield f"output_blocks.{number}.1", f"up_blocks.{i}.attentions.{j}"
            number += 1
        if getattr(block, "upsamplers", None):
            # It follows the block's last resnet and attention, in the same list of layers.
            yield f"output_blocks.{number - 1}.{1 + has_attention}", f"up_blocks.{i}.upsamplers.0"


def _inner(name: str) -> str:
    """Within a stack only the layers of resnets have other names."""
    first, dot, rest = name.partition(".")
    return _RESNET.get(first, first) + dot + rest


def _joined(outer: str, inner: str) -> str:
    return f"{outer}.{inner}" if inner else outer
