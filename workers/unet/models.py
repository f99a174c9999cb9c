"""Base models: loaded as diffusers pipelines, of which the worker uses the parts."""

from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.image_processor import VaeImageProcessor

from shared.errors import ModelFailed
from workers.lora.patch import Patcher
from workers.unet.preview import Previewer
from workers.weights import weight_bytes, weights_sha256


class BaseModel:
    """One loaded base model. Its weights are pristine whenever no job is drawing."""

    def __init__(self, name: str, pipe: Any) -> None:
        self.name = name
        self.pipe = pipe
        parts = {"unet": pipe.unet, "vae": pipe.vae, "text_encoder": pipe.text_encoder}
        self.sha256 = weights_sha256(parts)
        self._own_bytes = weight_bytes(parts.values())
        self.patcher = Patcher(pipe.unet, pipe.text_encoder)
        self.preview = Previewer(pipe.vae)
        # Control images keep their range 0..1, as in StableDiffusionControlNetPipeline.
        self.control_images = VaeImageProcessor(
            vae_scale_factor=pipe.vae_scale_factor, do_convert_rgb=True, do_normalize=False
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights and of their pristine copies."""
        return self._own_bytes + self.patcher.pristine_bytes

    def size(self, width: int | None, height: int | None) -> tuple[int, int]:
        """The size of a picture, in pixels; unset is the model's own."""
        own = self.pipe.unet.config.sample_size
        own_h, own_w = (own, own) if isinstance(own, int) else own
        factor = self.pipe.vae_scale_factor
        return width or own_w * factor, height or own_h * factor


def load_model(name: str, source: str, dtype: str, device: str) -> BaseModel:
    """Load a model from a diffusers folder, a single file or a hub id; raises `ModelFailed`."""
    options = {"dtype": getattr(torch, dtype), "safety_checker": None, "feature_extractor": None}
    try:
        if source.endswith(".safetensors"):
            pipe = StableDiffusionPipeline.from_single_file(source, **options)
        else:
            kind = DiffusionPipeline.load_config(source).get("_class_name")
            if kind != StableDiffusionPipeline.__name__:
                raise ModelFailed(f"model {name!r} ({source}) is a {kind}: that family is not served yet")
            pipe = StableDiffusionPipeline.from_pretrained(source, requires_safety_checker=False, **options)
        pipe.to(device)
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelFailed(f"model {name!r} ({source}) cannot be loaded: {error}") from error
    if pipe.unet.config.time_cond_proj_dim is not None:
        raise ModelFailed(f"model {name!r}: guidance-embedded UNets are not served yet")
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.eval().requires_grad_(False)
    return BaseModel(name, pipe)
