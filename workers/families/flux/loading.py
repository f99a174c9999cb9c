"""Loads Flux.1's base models and ControlNets."""

from dataclasses import dataclass
from typing import Any

from diffusers import FluxControlNetModel, FluxPipeline

from shared.families.base import Config
from shared.families.flux import FLUX
from workers.families.base_controlnet import ControlNetSource
from workers.families.base_family import ModelSource
from workers.families.flux.controlnet import FluxControlNet
from workers.families.flux.model import FluxModel
from workers.families.transformer.loading import TransformerFamily
from workers.families.transformer.model import LoadInfo
from workers.model_checks.weight_files import Unloadable


@dataclass(frozen=True)
class FluxFamily(TransformerFamily):
    """See `TransformerFamily`."""

    def check_pipeline(self, pipe: Any) -> None:
        """See `TransformerFamily`: those made to edit or to fill take the channels of further latents."""
        taken, own = pipe.transformer.config.in_channels, 4 * pipe.vae.config.latent_channels
        if taken != own:
            raise Unloadable(f"its transformer takes {taken} channels, its latents have {own}")
        if pipe.vae.config.shift_factor is None:
            raise Unloadable("its VAE has no shift_factor")

    def make_model(self, source: ModelSource, pipe: Any, info: LoadInfo) -> FluxModel:
        """See `TransformerFamily`."""
        return FluxModel(source.name, pipe, info)

    def make_controlnet(
        self, source: ControlNetSource, model: Any, base: Config, sha256: str
    ) -> FluxControlNet:
        """See `TransformerFamily`."""
        return FluxControlNet(source.name, model, self.facts, base, sha256)


FLUX_FAMILY = FluxFamily(FLUX, FluxPipeline, FluxControlNetModel)
