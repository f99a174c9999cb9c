"""Tiny transformers with random weights, as `infra.tiny_models` makes them for the demo, for tests.

Base models are whole pipelines of diffusers. Sizes in pixels are multiples of 16.
"""

from infra.tiny_models.flux import FluxControlNetKind, make_flux, make_flux_controlnet
from infra.tiny_models.loras import make_lora
from infra.tiny_models.qwen_image import make_qwen_image, make_qwen_image_controlnet
from infra.tiny_models.sd3 import SD3ControlNetKind, make_sd3, make_sd3_controlnet
from infra.tiny_models.z_image import ZImageControlNetKind, make_z_image, make_z_image_controlnet

__all__ = [
    "FluxControlNetKind",
    "SD3ControlNetKind",
    "ZImageControlNetKind",
    "make_flux",
    "make_flux_controlnet",
    "make_lora",
    "make_qwen_image",
    "make_qwen_image_controlnet",
    "make_sd3",
    "make_sd3_controlnet",
    "make_z_image",
    "make_z_image_controlnet",
]
