"""Loads Z-Image and its ControlNets."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ZImageControlNetModel, ZImagePipeline

from shared.families.base import Config
from shared.families.z_image import PATCHES, Z_IMAGE, embeds_patches
from workers.families.base_controlnet import ControlNetSource
from workers.families.base_family import ModelSource
from workers.families.transformer.loading import TransformerFamily, read_denoiser_config
from workers.families.transformer.model import LoadInfo
from workers.families.z_image.base_layers import load_base_layers
from workers.families.z_image.controlnet import ZImageControlNet
from workers.families.z_image.controlnet_file import load_controlnet_file
from workers.families.z_image.model import ZImageModel
from workers.model_checks.weight_files import Unloadable


@dataclass(frozen=True)
class ZImageFamily(TransformerFamily):
    """See `TransformerFamily`."""

    def check_pipeline(self, pipe: Any) -> None:
        """See `TransformerFamily`: models of further latents or other patches have the same parts."""
        taken, own = pipe.transformer.config.in_channels, pipe.vae.config.latent_channels
        if taken != own:
            raise Unloadable(f"its transformer takes {taken} channels, its latents have {own}")
        if pipe.vae.config.shift_factor is None:
            raise Unloadable("its VAE has no shift_factor")
        if not embeds_patches(pipe.transformer.config):
            raise Unloadable(f"its transformer has no embedder of {PATCHES}")

    def make_model(self, source: ModelSource, pipe: Any, info: LoadInfo) -> ZImageModel:
        """See `TransformerFamily`."""
        return ZImageModel(source.name, pipe, info)

    def make_controlnet(
        self, source: ControlNetSource, model: Any, base: Config, sha256: str
    ) -> ZImageControlNet:
        """See `TransformerFamily`."""
        # Makes its tables of positions: else the first threads that compute with it would, at the same time.
        model.rope_embedder(torch.zeros(1, 3, dtype=torch.int32, device=source.device))
        return ZImageControlNet(source.name, model, Z_IMAGE, base, sha256)

    def load_controlnet_file(self, source: ControlNetSource) -> Any:
        """See `TransformerFamily`."""
        return load_controlnet_file(source.path, source.config, source.dtype)

    def _load_controlnet_model(self, source: ControlNetSource) -> Any:
        controlnet: Any = super()._load_controlnet_model(source)
        assert source.base is not None, "it was checked"
        config = read_denoiser_config(source.base_config or source.base, self.facts.denoiser)
        return ZImageControlNetModel.from_transformer(
            controlnet, load_base_layers(source.base, config, source.dtype)
        )


Z_IMAGE_FAMILY = ZImageFamily(Z_IMAGE, ZImagePipeline, ZImageControlNetModel)
