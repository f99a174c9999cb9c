"""Loads Z-Image and its ControlNets."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers import ZImageControlNetModel, ZImagePipeline

from shared.families.base import Config
from shared.families.z_image import Z_IMAGE
from workers.families.base import ModelSource
from workers.families.base_controlnet import ControlNetSource
from workers.families.transformer.loading import TransformerFamily, read_denoiser_config
from workers.families.transformer.model import LoadedWeights
from workers.families.z_image.base_layers import load_base_layers
from workers.families.z_image.controlnet import ZImageControlNet
from workers.families.z_image.model import ZImageModel
from workers.model_checks.weight_files import Unloadable


@dataclass(frozen=True)
class ZImageFamily(TransformerFamily):
    """See `TransformerFamily`."""

    def make_model(self, source: ModelSource, pipe: Any, loaded: LoadedWeights) -> ZImageModel:
        """See `TransformerFamily`."""
        return ZImageModel(source.name, pipe, loaded)

    def make_controlnet(
        self, source: ControlNetSource, model: Any, base: Config, sha256: str
    ) -> ZImageControlNet:
        """See `TransformerFamily`."""
        # Makes its tables of positions: else the first threads that compute with it would, at the same time.
        model.rope_embedder(torch.zeros(1, 3, dtype=torch.int32, device=source.device))
        return ZImageControlNet(source.name, model, Z_IMAGE, base, sha256)

    def _load_controlnet_model(self, source: ControlNetSource) -> Any:
        controlnet: Any = super()._load_controlnet_model(source)
        places = list(controlnet.config.control_layers_places)
        if places[0] != 0 or any(after <= before for before, after in pairwise(places)):
            raise Unloadable(f"its control_layers_places {places} do not rise from 0")
        assert source.base is not None, "it was checked"
        config = read_denoiser_config(source.base_config or source.base, self.facts.denoiser)
        return ZImageControlNetModel.from_transformer(
            controlnet, load_base_layers(source.base, config, source.dtype)
        )


Z_IMAGE_FAMILY = ZImageFamily(Z_IMAGE, ZImagePipeline, ZImageControlNetModel)
