"""The layer of a base model that ControlNets of SD3.5 large use, too: where latents become tokens.

They have none of their own. diffusers copies the base model's when it builds a pipeline, before any LoRA is
loaded: so no LoRA ever changes it for a ControlNet.
"""

import torch
from diffusers.models.embeddings import PatchEmbed

from shared.families.sd3 import SD3
from workers.families.transformer.base_weights import read_base_weights
from workers.model_checks.weight_files import Unloadable

_NAMES = ("proj.weight", "proj.bias", "pos_embed")
#: The layer's weights by the names that diffusers gives them, and by those of Stability AI's code.
_NAMES_THERE = {
    **{f"pos_embed.{name}": name for name in _NAMES},
    "x_embedder.proj.weight": "proj.weight",
    "x_embedder.proj.bias": "proj.bias",
    "pos_embed": "pos_embed",
}


def load_pos_embed(base: str, width: int, dtype: torch.dtype) -> PatchEmbed:
    """That of the base model in a folder, a single file or a hub id; nothing else of the model is read.

    ``width``: the channels of a token. Raises `Unloadable`.
    """
    found = read_base_weights(base, SD3.denoiser, ("pos_embed", "x_embedder.proj."))
    weights = {own: found[name] for name, own in _NAMES_THERE.items() if name in found}
    if missing := [name for name in _NAMES if name not in weights]:
        raise Unloadable(f"its base model {base} has no pos_embed.{missing[0]}, which it needs")
    kernel, table = weights["proj.weight"], weights["pos_embed"]
    if kernel.shape[0] != width or table.shape[-1] != width:
        raise Unloadable(
            f"its base model {base} has tokens of {kernel.shape[0]} channels, its own have {width}"
        )
    patch = kernel.shape[-1]
    with torch.device("meta"):  # the table of diffusers' formula would only be replaced
        layer = PatchEmbed(
            height=patch,
            width=patch,
            patch_size=patch,
            in_channels=kernel.shape[1],
            embed_dim=width,
            pos_embed_max_size=int(table.shape[1] ** 0.5),
        )
    # Copied, as diffusers does: where they lie in the file, kernels may compute other last bits.
    layer.load_state_dict({name: weights[name].to(dtype, copy=True) for name in _NAMES}, assign=True)
    return layer
