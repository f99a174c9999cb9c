"""Modules of transformers that LoRAs train: how wide they are, by the names of diffusers and of the authors.

A name has no number of a block, and underscores in place of dots. A width is a multiple of that of a token.
Modules that are not named here are looked for when the LoRA is patched.
"""

from collections.abc import Iterable, Mapping

#: Inputs and outputs; None: it is no multiple of a token's width.
Widths = tuple[int | None, int | None]

_SQUARE: Widths = (1, 1)
_FEED_FORWARD: Mapping[str, Widths] = {"net_0_proj": (1, 4), "net_2": (4, 1)}


def _below(block: str, modules: Mapping[str, Widths]) -> dict[str, Widths]:
    return {f"{block}_{name}": widths for name, widths in modules.items()}


def _attention(*names: str) -> dict[str, Widths]:
    return dict.fromkeys(names, _SQUARE)


def _streams(streams: Iterable[str], modules: Mapping[str, Widths]) -> dict[str, Widths]:
    """The same modules of an image's and of a text's tokens."""
    return {name: widths for stream in streams for name, widths in _below(stream, modules).items()}


#: Of a block for image and text by diffusers' names.
_JOINT_ATTENTION = _attention(
    *(f"attn_{name}" for name in ("to_q", "to_k", "to_v", "to_out_0", "to_add_out")),
    *(f"attn_add_{name}_proj" for name in "qkv"),
)
#: Where tokens leave the transformer: the channels of a patch are of no such width.
_HEAD: Mapping[str, Widths] = {"proj_out": (1, None), "final_layer_linear": (1, None)}

FLUX: Mapping[str, Widths] = {
    **_below(
        "double_blocks",
        {
            **_streams(
                ("img", "txt"),
                {
                    "attn_qkv": (1, 3),
                    "attn_proj": _SQUARE,
                    "mlp_0": (1, 4),
                    "mlp_2": (4, 1),
                    "mod_lin": (1, 6),
                },
            ),
            "processor_qkv": (1, 3),  # XLabs'
            "processor_proj": _SQUARE,
        },
    ),
    **_below(
        "single_blocks",
        {"linear1": (1, 7), "linear2": (5, 1), "modulation_lin": (1, 3), "processor_qkv": (1, 3)},
    ),
    **_below(
        "transformer_blocks",
        {
            **_JOINT_ATTENTION,
            **_streams(("ff", "ff_context"), _FEED_FORWARD),
            "norm1_linear": (1, 6),
            "norm1_context_linear": (1, 6),
        },
    ),
    **_below(
        "single_transformer_blocks",
        {
            **_attention("attn_to_q", "attn_to_k", "attn_to_v"),
            "proj_mlp": (1, 4),
            "proj_out": (5, 1),
            "norm_linear": (1, 3),
        },
    ),
    **_HEAD,
}
SD3: Mapping[str, Widths] = {
    **_below(
        "joint_blocks",
        {
            **_streams(
                ("x_block", "context_block"),
                {"attn_qkv": (1, 3), "attn_proj": _SQUARE, "mlp_fc1": (1, 4), "mlp_fc2": (4, 1)},
            ),
            "x_block_attn2_qkv": (1, 3),
            "x_block_attn2_proj": _SQUARE,
        },
    ),
    **_below(
        "transformer_blocks",
        {
            **_JOINT_ATTENTION,
            **_attention(*(f"attn2_{name}" for name in ("to_q", "to_k", "to_v", "to_out_0"))),
            **_streams(("ff", "ff_context"), _FEED_FORWARD),
        },
    ),
    **_HEAD,
}
QWEN_IMAGE: Mapping[str, Widths] = {
    **_below(
        "transformer_blocks",
        {
            **_JOINT_ATTENTION,
            **_streams(("img_mlp", "txt_mlp"), _FEED_FORWARD),
            "img_mod_1": (1, 6),
            "txt_mod_1": (1, 6),
        },
    ),
    "proj_out": (1, None),
}
_Z_IMAGE_BLOCK: Mapping[str, Widths] = {
    **{f"attention_{name}": (1, None) for name in ("to_q", "to_k", "to_v", "qkv")},
    **{f"attention_{name}": (None, 1) for name in ("to_out_0", "out")},
    **{f"feed_forward_{name}": (1, None) for name in ("w1", "w3")},
    "feed_forward_w2": (None, 1),
}
Z_IMAGE: Mapping[str, Widths] = {
    **_streams(("layers", "noise_refiner", "context_refiner"), _Z_IMAGE_BLOCK),
    "final_layer_linear": (1, None),
}
