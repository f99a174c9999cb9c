"""The layer of a base model that ControlNets of SD3.5 large use, too: where latents become tokens.

They have none of their own. diffusers copies the base model's when it builds a pipeline, before any LoRA is
loaded: so no LoRA ever changes it for a ControlNet.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers.models.embeddings import PatchEmbed
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor

from shared.catalog.entries import SINGLE_FILE
from workers.model_checks.weight_files import Unloadable
from workers.runtime.weights.source import split_revision

_FOLDER = "transformer"
_NAMES = ("proj.weight", "proj.bias", "pos_embed")
#: The layer's weights in a single file, as Stability AI's code names them.
_ORIGINAL = {
    "model.diffusion_model.x_embedder.proj.weight": "proj.weight",
    "model.diffusion_model.x_embedder.proj.bias": "proj.bias",
    "model.diffusion_model.pos_embed": "pos_embed",
}


def load_pos_embed(base: str, width: int, dtype: torch.dtype) -> PatchEmbed:
    """That of the base model in a folder, a single file or a hub id; nothing else of the model is read.

    ``width``: the channels of a token. Raises `Unloadable`.
    """
    weights = _read(base)
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
    layer.load_state_dict({name: weights[name].to(dtype) for name in _NAMES}, assign=True)
    return layer.requires_grad_(False)


def _read(base: str) -> dict[str, Tensor]:
    """The layer's weights, as far as they are there."""
    if base.endswith(SINGLE_FILE):
        return dict(_named(Path(base), _ORIGINAL))
    folder = Path(base)
    if not folder.exists() and not folder.is_absolute():
        hub_id, at = split_revision(base)
        files = f"{_FOLDER}/*.safetensors"
        folder = Path(snapshot_download(hub_id, revision=at.get("revision"), allow_patterns=files))
    wanted = {f"pos_embed.{name}": name for name in _NAMES}
    weights: dict[str, Tensor] = {}
    # Variants have a dot more in their names: what is found in a plain file counts.
    for file in sorted((folder / _FOLDER).glob("*.safetensors"), key=lambda file: file.name.count(".")):
        weights = dict(_named(file, wanted)) | weights
    return weights


def _named(file: Path, wanted: dict[str, str]) -> Iterator[tuple[str, Tensor]]:
    with safe_open(file, framework="pt") as opened:
        for name in set(opened.keys()) & set(wanted):
            yield wanted[name], opened.get_tensor(name)
