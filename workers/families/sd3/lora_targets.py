"""Which modules of Stable Diffusion 3 and 3.5 a LoRA file trains: also by Stability's names."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from workers.families.transformer.lora_targets import Layers, OriginalModule, TransformerLoraTargets, stack

_TEXT_ENCODERS = {
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": "text_encoder_3",
}
_HEADS = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_BLOCK: Layers = {
    "x_block.adaLN_modulation.1": "norm1.linear",
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn.ln_q": "attn.norm_q",
    "x_block.attn.ln_k": "attn.norm_k",
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block.attn2.ln_q": "attn2.norm_q",
    "x_block.attn2.ln_k": "attn2.norm_k",
    "x_block.attn2.proj": "attn2.to_out.0",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block.attn.ln_q": "attn.norm_added_q",
    "context_block.attn.ln_k": "attn.norm_added_k",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
}


def sd3_lora_targets(parts: Mapping[str, nn.Module]) -> TransformerLoraTargets:
    """Of a model with these ``parts``."""
    return TransformerLoraTargets(parts, _original_modules, _TEXT_ENCODERS)


def _original_modules(transformer: Any) -> Iterator[OriginalModule]:
    yield from (OriginalModule(theirs, (ours,)) for theirs, ours in _HEADS.items())
    yield OriginalModule("final_layer.adaLN_modulation.1", ("norm_out.linear",), swaps_halves=True)
    for i, block in enumerate(transformer.transformer_blocks):
        theirs, ours = f"joint_blocks.{i}", f"transformer_blocks.{i}"
        yield from stack(theirs, ours, _BLOCK)
        # The last block's context ends there: its norm is one of an output.
        context_norm = f"{theirs}.context_block.adaLN_modulation.1"
        yield OriginalModule(context_norm, (f"{ours}.norm1_context.linear",), block.context_pre_only)
