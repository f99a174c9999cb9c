"""Flux's modules as its authors name them, with their shapes."""

from typing import Any


def original_shapes(config: Any) -> dict[str, tuple[int, int]]:
    """Rows and columns of every linear layer of a Flux with guidance, by its transformer's config."""
    width = config.num_attention_heads * config.attention_head_dim
    shapes = {
        "img_in": (width, config.in_channels),
        "txt_in": (width, config.joint_attention_dim),
        "final_layer.linear": (config.in_channels, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }
    for name, columns in (("time", 256), ("guidance", 256), ("vector", config.pooled_projection_dim)):
        shapes[f"{name}_in.in_layer"] = (width, columns)
        shapes[f"{name}_in.out_layer"] = (width, width)
    for i in range(config.num_layers):
        for stream in ("img", "txt"):
            start = f"double_blocks.{i}.{stream}"
            shapes[f"{start}_mod.lin"] = (6 * width, width)
            shapes[f"{start}_attn.qkv"] = (3 * width, width)
            shapes[f"{start}_attn.proj"] = (width, width)
            shapes[f"{start}_mlp.0"] = (4 * width, width)
            shapes[f"{start}_mlp.2"] = (width, 4 * width)
    for i in range(config.num_single_layers):
        start = f"single_blocks.{i}"
        shapes[f"{start}.modulation.lin"] = (3 * width, width)
        shapes[f"{start}.linear1"] = (7 * width, width)
        shapes[f"{start}.linear2"] = (width, 5 * width)
    return shapes
