"""The layers of a base model that its ControlNets compute with, read without the rest of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import ZImageTransformer2DModel
from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor, nn

from shared.catalog.entries import SINGLE_FILE
from shared.families.base import Config
from shared.families.z_image import Z_IMAGE
from workers.model_checks.weight_files import Unloadable
from workers.runtime.weights.source import split_revision

#: What stands before the names of weights in a single file, and an embedder that has another name there.
_PREFIX, _EMBEDDER = "model.diffusion_model.", "x_embedder."


def load_base_layers(base: str, config: Config, dtype: torch.dtype) -> Any:
    """A transformer of Z-Image without its main layers, for ``ZImageControlNetModel.from_transformer``.

    ``base``: a folder, a single file or a hub id; ``config``: that of its transformer. Raises `Unloadable`.
    """
    weights = dict(_read(base))
    if any(name.startswith(_EMBEDDER) for name in weights):  # by its original names
        weights = convert_z_image_transformer_checkpoint_to_diffusers(weights)
    with torch.device("meta"):
        layers: Any = ZImageTransformer2DModel.from_config({**config, "n_layers": 0})
    layers.all_final_layer = nn.ModuleDict()
    expected = {name: tensor.shape for name, tensor in layers.state_dict().items()}
    lacking = [
        name for name, shape in expected.items() if name not in weights or weights[name].shape != shape
    ]
    if lacking:
        detail = f"lacks {len(lacking)} weights that it computes with, such as {lacking[0]}"
        raise Unloadable(f"its base model {base} {detail}")
    layers.load_state_dict({name: weights[name].to(dtype) for name in expected}, assign=True)
    return layers


def _read(base: str) -> Iterator[tuple[str, Tensor]]:
    for file in _files(base):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no dict
                own = name.removeprefix(_PREFIX)
                if own.startswith(Z_IMAGE.controlnet_layers):
                    yield own, opened.get_tensor(name)


def _files(base: str) -> list[Path]:
    """Those with its transformer's weights; plain ones come last, and count where there are variants."""
    if base.endswith(SINGLE_FILE):
        return [Path(base)]
    folder = Path(base)
    if not folder.exists() and not folder.is_absolute():
        hub_id, revision = split_revision(base)
        wanted = f"{Z_IMAGE.denoiser}/*.safetensors"
        found = snapshot_download(hub_id, revision=revision.get("revision"), allow_patterns=wanted)
        folder = Path(found)
    files = (folder / Z_IMAGE.denoiser).glob("*.safetensors")
    return sorted(files, key=lambda file: (-file.name.count("."), file.name))
