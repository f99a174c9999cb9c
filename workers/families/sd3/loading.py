"""Loads base models and ControlNets of Stable Diffusion 3."""

from dataclasses import dataclass
from typing import Any

from diffusers import SD3ControlNetModel, StableDiffusion3Pipeline

from shared.families.base import Config
from shared.families.sd3 import SD3
from workers.families.base_controlnet import ControlNetSource
from workers.families.base_family import ModelSource
from workers.families.sd3.controlnet import SD3ControlNet
from workers.families.sd3.model import SD3Model
from workers.families.sd3.pos_embed import load_pos_embed
from workers.families.transformer.loading import TransformerFamily
from workers.families.transformer.model import LoadInfo
from workers.model_checks.weight_files import Unloadable


@dataclass(frozen=True)
class SD3Family(TransformerFamily):
    """See `TransformerFamily`."""

    def check_pipeline(self, pipe: Any) -> None:
        """See `TransformerFamily`: those trained to inpaint take the channels of a mask and an image."""
        taken, own = pipe.transformer.config.in_channels, pipe.vae.config.latent_channels
        if taken != own:
            raise Unloadable(f"its transformer takes {taken} channels, its latents have {own}")
        if pipe.vae.config.shift_factor is None:
            raise Unloadable("its VAE has no shift_factor")

    def make_model(self, source: ModelSource, pipe: Any, info: LoadInfo) -> SD3Model:
        """See `TransformerFamily`."""
        return SD3Model(source.name, pipe, info)

    def make_controlnet(
        self, source: ControlNetSource, model: Any, base: Config, sha256: str
    ) -> SD3ControlNet:
        """See `TransformerFamily`."""
        return SD3ControlNet(source.name, model, self.facts, base, sha256)

    def _load_controlnet_model(self, source: ControlNetSource) -> Any:
        """One of SD3.5 large's kind is given a layer of its base model, of which its hash is, too."""
        model: Any = super()._load_controlnet_model(source)
        if model.pos_embed is None:
            assert source.base is not None, "it was checked"
            model.pos_embed = load_pos_embed(source.base, model.inner_dim, source.dtype)
        return model


SD3_FAMILY = SD3Family(SD3, StableDiffusion3Pipeline, SD3ControlNetModel)
