"""Weights of transformers by the names that their own authors' files have: what diffusers converts.

Names begin with one of `PREFIXES`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

PREFIX = "model.diffusion_model."
#: What names begin with in files of different authors.
PREFIXES = (PREFIX, "")


def z_image_names(weights: Mapping[str, Tensor], prefix: str = PREFIX) -> dict[str, Tensor]:
    """Of a `ZImageTransformer2DModel`: query, key and value are one matrix."""
    named = {}
    for name, tensor in weights.items():
        if ".to_q." in name:
            parts = [weights[name.replace(".to_q.", f".to_{part}.")] for part in "qkv"]
            named[name.replace(".to_q.", ".qkv.")] = torch.cat(parts)
        elif ".to_k." not in name and ".to_v." not in name:
            named[_replaced(name, _Z_IMAGE)] = tensor
    return {prefix + name: tensor for name, tensor in named.items()}


_Z_IMAGE = {
    "all_final_layer.2-1.": "final_layer.",
    "all_x_embedder.2-1.": "x_embedder.",
    ".attention.norm_k.": ".attention.k_norm.",
    ".attention.norm_q.": ".attention.q_norm.",
    ".attention.to_out.0.": ".attention.out.",
}


def flux_names(weights: Mapping[str, Tensor], prefix: str = PREFIX) -> dict[str, Tensor]:
    """Of a `FluxTransformer2DModel`: in single blocks the MLP is in the same matrix, too."""
    named = {}
    for name, tensor in weights.items():
        single = name.startswith("single_transformer_blocks.")
        fused = _FLUX_SINGLE_FUSED if single else _FLUX_FUSED
        if any(part in name for others in fused.values() for part in others):
            continue
        for first, others in fused.items():
            if first in name:
                tensor = torch.cat([tensor, *(weights[name.replace(first, other)] for other in others)])
        if name.startswith("norm_out.linear."):
            tensor = torch.cat(tensor.chunk(2)[::-1])
        named[_replaced(name, _FLUX_SINGLE if single else _FLUX)] = tensor
    return {prefix + name: tensor for name, tensor in named.items()}


_FLUX_FUSED = {
    ".attn.to_q.": (".attn.to_k.", ".attn.to_v."),
    ".attn.add_q_proj.": (".attn.add_k_proj.", ".attn.add_v_proj."),
}
_FLUX_SINGLE_FUSED = {".attn.to_q.": (".attn.to_k.", ".attn.to_v.", ".proj_mlp.")}
_FLUX = {
    "time_text_embed.timestep_embedder.linear_1.": "time_in.in_layer.",
    "time_text_embed.timestep_embedder.linear_2.": "time_in.out_layer.",
    "time_text_embed.text_embedder.linear_1.": "vector_in.in_layer.",
    "time_text_embed.text_embedder.linear_2.": "vector_in.out_layer.",
    "time_text_embed.guidance_embedder.linear_1.": "guidance_in.in_layer.",
    "time_text_embed.guidance_embedder.linear_2.": "guidance_in.out_layer.",
    "context_embedder.": "txt_in.",
    "x_embedder.": "img_in.",
    "proj_out.": "final_layer.linear.",
    "norm_out.linear.": "final_layer.adaLN_modulation.1.",
    "transformer_blocks.": "double_blocks.",
    ".norm1.linear.": ".img_mod.lin.",
    ".norm1_context.linear.": ".txt_mod.lin.",
    ".attn.to_q.": ".img_attn.qkv.",
    ".attn.add_q_proj.": ".txt_attn.qkv.",
    ".attn.norm_q.weight": ".img_attn.norm.query_norm.scale",
    ".attn.norm_k.weight": ".img_attn.norm.key_norm.scale",
    ".attn.norm_added_q.weight": ".txt_attn.norm.query_norm.scale",
    ".attn.norm_added_k.weight": ".txt_attn.norm.key_norm.scale",
    ".attn.to_out.0.": ".img_attn.proj.",
    ".attn.to_add_out.": ".txt_attn.proj.",
    ".ff.net.0.proj.": ".img_mlp.0.",
    ".ff.net.2.": ".img_mlp.2.",
    ".ff_context.net.0.proj.": ".txt_mlp.0.",
    ".ff_context.net.2.": ".txt_mlp.2.",
}
_FLUX_SINGLE = {
    "single_transformer_blocks.": "single_blocks.",
    ".norm.linear.": ".modulation.lin.",
    ".attn.to_q.": ".linear1.",
    ".attn.norm_q.weight": ".norm.query_norm.scale",
    ".attn.norm_k.weight": ".norm.key_norm.scale",
    ".proj_out.": ".linear2.",
}


def sd3_names(weights: Mapping[str, Tensor], prefix: str = PREFIX) -> dict[str, Tensor]:
    """Of an `SD3Transformer2DModel`: the same, and shift and scale of the last layers change places."""
    last = max(int(name.split(".")[1]) for name in weights if name.startswith("transformer_blocks."))
    swapped = ("norm_out.linear.", f"transformer_blocks.{last}.norm1_context.linear.")
    named = {}
    for name, tensor in weights.items():
        if any(part in name for others in _SD3_FUSED.values() for part in others):
            continue
        for first, others in _SD3_FUSED.items():
            if first in name:
                tensor = torch.cat([tensor, *(weights[name.replace(first, other)] for other in others)])
        if name.startswith(swapped):
            tensor = torch.cat(tensor.chunk(2)[::-1])
        named[_replaced(name, _SD3)] = tensor
    return {prefix + name: tensor for name, tensor in named.items()}


#: The query, and the key and value that follow it in one matrix.
_SD3_FUSED = {
    ".attn.to_q.": (".attn.to_k.", ".attn.to_v."),
    ".attn2.to_q.": (".attn2.to_k.", ".attn2.to_v."),
    ".attn.add_q_proj.": (".attn.add_k_proj.", ".attn.add_v_proj."),
}
_SD3 = {
    "pos_embed.proj.": "x_embedder.proj.",
    "pos_embed.pos_embed": "pos_embed",
    "time_text_embed.timestep_embedder.linear_1.": "t_embedder.mlp.0.",
    "time_text_embed.timestep_embedder.linear_2.": "t_embedder.mlp.2.",
    "time_text_embed.text_embedder.linear_1.": "y_embedder.mlp.0.",
    "time_text_embed.text_embedder.linear_2.": "y_embedder.mlp.2.",
    "proj_out.": "final_layer.linear.",
    "norm_out.linear.": "final_layer.adaLN_modulation.1.",
    "transformer_blocks.": "joint_blocks.",
    ".attn.to_q.": ".x_block.attn.qkv.",
    ".attn2.to_q.": ".x_block.attn2.qkv.",
    ".attn.add_q_proj.": ".context_block.attn.qkv.",
    ".attn.norm_q.": ".x_block.attn.ln_q.",
    ".attn.norm_k.": ".x_block.attn.ln_k.",
    ".attn.norm_added_q.": ".context_block.attn.ln_q.",
    ".attn.norm_added_k.": ".context_block.attn.ln_k.",
    ".attn2.norm_q.": ".x_block.attn2.ln_q.",
    ".attn2.norm_k.": ".x_block.attn2.ln_k.",
    ".attn.to_out.0.": ".x_block.attn.proj.",
    ".attn2.to_out.0.": ".x_block.attn2.proj.",
    ".attn.to_add_out.": ".context_block.attn.proj.",
    ".norm1.linear.": ".x_block.adaLN_modulation.1.",
    ".norm1_context.linear.": ".context_block.adaLN_modulation.1.",
    ".ff.net.0.proj.": ".x_block.mlp.fc1.",
    ".ff.net.2.": ".x_block.mlp.fc2.",
    ".ff_context.net.0.proj.": ".context_block.mlp.fc1.",
    ".ff_context.net.2.": ".context_block.mlp.fc2.",
}


def vae_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of an `AutoencoderKL`: attention is of convolutions, and the decoder's blocks count the other way."""
    ups = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("decoder.up_blocks."))
    named = {}
    for name, tensor in weights.items():
        if "attentions" in name and name.endswith(".weight") and "group_norm" not in name:
            tensor = tensor[:, :, None, None]
        if name.startswith("decoder.up_blocks."):
            number = name.split(".")[2]
            name = name.replace(f"up_blocks.{number}.", f"up.{ups - 1 - int(number)}.")
        named["first_stage_model." + _replaced(name, _VAE)] = tensor
    return named


_VAE = {
    "down_blocks.": "down.",
    ".resnets.": ".block.",
    ".downsamplers.0.": ".downsample.",
    ".upsamplers.0.": ".upsample.",
    "mid_block.block.0.": "mid.block_1.",
    "mid_block.block.1.": "mid.block_2.",
    "mid_block.attentions.0.group_norm.": "mid.attn_1.norm.",
    "mid_block.attentions.0.to_out.0.": "mid.attn_1.proj_out.",
    "mid_block.attentions.0.to_": "mid.attn_1.",
    ".conv_shortcut.": ".nin_shortcut.",
    "conv_norm_out.": "norm_out.",
}


def encoder_names(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Of a text encoder, ``clip_l``, ``clip_g`` or ``t5xxl``, by the names of ComfyUI's files."""
    below = "" if name == "t5xxl" else "text_model."
    named = {below + own if own.split(".")[0] in _CLIP_TOPS else own: t for own, t in weights.items()}
    return {f"text_encoders.{name}.transformer.{own}": tensor for own, tensor in named.items()}


_CLIP_TOPS = ("embeddings", "encoder", "final_layer_norm")


def _replaced(name: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        name = name.replace(old, new)
    return name
