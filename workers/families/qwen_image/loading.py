"""Loads Qwen-Image's base models and ControlNets."""

from dataclasses import dataclass
from typing import Any

from diffusers import QwenImageControlNetModel, QwenImagePipeline

from shared.families.base import Config
from shared.families.qwen_image import QWEN_IMAGE
from workers.families.base_controlnet import ControlNetSource
from workers.families.base_family import ModelSource
from workers.families.qwen_image.controlnet import QwenImageControlNet
from workers.families.qwen_image.model import QwenImageModel
from workers.families.transformer.loading import TransformerFamily
from workers.families.transformer.model import LoadInfo
from workers.model_checks.weight_files import Unloadable

#: Switches in a transformer's config that models for other tasks have, and what they are on for.
_OTHER_TASKS = {
    "guidance_embeds": "has guidance distilled in, which diffusers cannot run",
    "use_additional_t_cond": "was made for layered images",
    "use_layer3d_rope": "was made for layered images",
    "zero_cond_t": "was made to edit images",
}


@dataclass(frozen=True)
class QwenImageFamily(TransformerFamily):
    """See `TransformerFamily`."""

    def check_pipeline(self, pipe: Any) -> None:
        """See `TransformerFamily`: models that edit images have the same parts."""
        config = pipe.transformer.config
        for switch, what in _OTHER_TASKS.items():
            if config.get(switch):
                raise Unloadable(f"its transformer {what}: that is not served")
        taken, own = config.in_channels, 4 * pipe.vae.config.z_dim
        if taken != own:
            raise Unloadable(f"its transformer takes {taken} channels, its latents have {own}")

    def make_model(self, source: ModelSource, pipe: Any, info: LoadInfo) -> QwenImageModel:
        """See `TransformerFamily`."""
        return QwenImageModel(source.name, pipe, info)

    def make_controlnet(
        self, source: ControlNetSource, model: Any, base: Config, sha256: str
    ) -> QwenImageControlNet:
        """See `TransformerFamily`."""
        return QwenImageControlNet(source.name, model, self.facts, base, sha256)


QWEN_IMAGE_FAMILY = QwenImageFamily(QWEN_IMAGE, QwenImagePipeline, QwenImageControlNetModel)
