"""The layers of a base model that its ControlNets compute with, read without the rest of it."""

from typing import Any

import torch
from diffusers import ZImageTransformer2DModel
from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers
from torch import nn

from shared.families.base import Config
from shared.families.z_image import Z_IMAGE
from workers.families.transformer.base_weights import read_base_weights
from workers.model_checks.weight_files import Unloadable

#: An embedder that has another name in files of the model's authors.
_EMBEDDER = "x_embedder."


def load_base_layers(base: str, config: Config, dtype: torch.dtype) -> Any:
    """A transformer of Z-Image without its main layers, for ``ZImageControlNetModel.from_transformer``.

    ``base``: a folder, a single file or a hub id; ``config``: that of its transformer. Raises `Unloadable`.
    """
    weights = read_base_weights(base, Z_IMAGE.denoiser, Z_IMAGE.controlnet_layers)
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
