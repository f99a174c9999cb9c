"""Which modules of Flux a LoRA file trains: also by Black Forest Labs' names, which kohya and XLabs use."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from workers.families.transformer.lora_targets import Layers, OriginalModule, TransformerLoraTargets, stack

#: kohya numbers three text encoders, of which Flux has the first and the third; OneTrainer counts to two.
_TEXT_ENCODERS = {
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_2",
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.t5xxl.transformer.": "text_encoder_2",
}
#: CLIP's projection, which Flux's has not: programs train it that load all of CLIP.
_ABSENT = frozenset(
    {
        "lora_te_text_projection",
        "lora_te1_text_projection",
        "text_encoders.clip_l.transformer.text_projection",
    }
)
_HEADS = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_IMAGE_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_TEXT_QKV = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_DOUBLE: Layers = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.qkv": _IMAGE_QKV,
    "txt_attn.qkv": _TEXT_QKV,
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    # XLabs
    "processor.qkv_lora1": _IMAGE_QKV,
    "processor.qkv_lora2": _TEXT_QKV,
    "processor.proj_lora1": "attn.to_out.0",
    "processor.proj_lora2": "attn.to_add_out",
}
_SINGLE: Layers = {
    "modulation.lin": "norm.linear",
    "linear1": (*_IMAGE_QKV, "proj_mlp"),
    "linear2": "proj_out",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
    # XLabs
    "processor.qkv": _IMAGE_QKV,
    "processor.proj": "proj_out",
}


def flux_lora_targets(parts: Mapping[str, nn.Module]) -> TransformerLoraTargets:
    """Of a model with these ``parts``."""
    return TransformerLoraTargets(
        parts, _original_modules, _TEXT_ENCODERS, _ABSENT, prefers_diffusers_prefix=True
    )


def _original_modules(transformer: Any) -> Iterator[OriginalModule]:
    yield from (OriginalModule(theirs, (ours,)) for theirs, ours in _HEADS.items())
    yield OriginalModule("final_layer.adaLN_modulation.1", ("norm_out.linear",), swaps_halves=True)
    for i in range(len(transformer.transformer_blocks)):
        yield from stack(f"double_blocks.{i}", f"transformer_blocks.{i}", _DOUBLE)
    for i in range(len(transformer.single_transformer_blocks)):
        yield from stack(f"single_blocks.{i}", f"single_transformer_blocks.{i}", _SINGLE)
