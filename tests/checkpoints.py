"""A pipeline as one file, with the names that the original Stable Diffusion gave its weights."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def save_checkpoint(pipe: Any, path: Path) -> None:
    """Write the UNet, the VAE and the text encoder of an SD 1.x pipeline into one safetensors file."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in pipe.unet.state_dict().items():
        tensors[f"model.diffusion_model.{unet_name(name, pipe.unet)}"] = tensor
    for name, tensor in pipe.vae.state_dict().items():
        is_matrix = ".attentions." in name and tensor.dim() == 2
        kept = tensor[..., None, None] if is_matrix else tensor
        tensors[f"first_stage_model.{_vae_name(name, len(pipe.vae.decoder.up_blocks))}"] = kept
    for name, tensor in pipe.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def unet_name(name: str, unet: Any) -> str:
    """What the original called a weight of the UNet."""
    heads = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    for ours, theirs in heads.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    side, *rest = name.split(".")
    if side == "mid_block":
        kind, index, *leaf = rest
        return f"middle_block.{2 * int(index) if kind == 'resnets' else 1}.{_leaf(kind, leaf)}"
    block, kind, index, *leaf = rest
    layers = unet.config.layers_per_block
    if side == "down_blocks":
        first = 1 + int(block) * (layers + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + layers}.0.op.{leaf[-1]}"
        return f"input_blocks.{first + int(index)}.{int(kind == 'attentions')}.{_leaf(kind, leaf)}"
    first = int(block) * (layers + 1)
    if kind == "upsamplers":
        has_attention = hasattr(unet.up_blocks[int(block)], "attentions")
        return f"output_blocks.{first + layers}.{1 + has_attention}.conv.{leaf[-1]}"
    return f"output_blocks.{first + int(index)}.{int(kind == 'attentions')}.{_leaf(kind, leaf)}"


def _leaf(kind: str, leaf: list[str]) -> str:
    if kind != "resnets":
        return ".".join(leaf)
    return ".".join([_RESNET[leaf[0]], *leaf[1:]])


def _vae_name(name: str, blocks: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    if "mid_block.attentions.0" in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
        for ours, theirs in _ATTENTION.items():
            name = name.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
    for i in range(blocks):
        name = name.replace(f"down_blocks.{i}.", f"down.{i}.").replace(
            f"up_blocks.{i}.", f"up.{blocks - 1 - i}."
        )
    name = name.replace(".resnets.", ".block.")
    return name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
