"""Devices that sleep: this process's forwards take as long as SDXL's at 1024² on an H800.

Everything else is real: processes, queues, S3, the residual transport. What is slept is the paper's serial
diffusers (2.88 s an image of 50 steps, 1.38 s more with a ControlNet, medians of its artifact's logs)
divided among the parts as they were measured on a CPU; tensors are tiny, so the transport carries
kilobytes where SDXL has 107 MB.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.unets.unet_2d_blocks import CrossAttnUpBlock2D
from torch import Tensor
from transformers import CLIPTextModel

from workers.families.unet import forward
from workers.families.unet.controlnet import UNetControlNet
from workers.lora.patch import Patcher

#: One step of the UNet and of a ControlNet, both CFG branches in one batch, in seconds.
UNET_S, CONTROLNET_S = 0.0535, 0.0276
#: The encoder with the mid block takes this share of the UNet.
ENCODER_SHARE = 0.42
#: Latent parallelism is 1.36 times as fast on an H800: one CFG branch takes this share of both.
ONE_BRANCH_SHARE = 1 / 1.36
#: The rest of an image; a LoRA of 341 MiB on its way into memory (hidden) and into the weights (not).
TEXT_S, VAE_S, EMBED_S, LORA_LOAD_S, LORA_PATCH_S = 0.02, 0.165, 0.0007, 1.0, 0.09


def simulate_unet_device() -> None:
    """Make this process's UNet, VAE, text encoder and LoRA patches as slow as the device's."""
    _slow(forward, "forward_encoder", ENCODER_SHARE * UNET_S)
    _slow(CrossAttnUpBlock2D, "forward", UNET_S - ENCODER_SHARE * UNET_S)
    _slow(Decoder, "forward", VAE_S, is_batched=False)
    _slow(CLIPTextModel, "forward", TEXT_S, is_batched=False)
    _slow_patches()


def simulate_controlnet_device() -> None:
    """Make this process's ControlNets as slow as the device's."""
    _slow(UNetControlNet, "features", CONTROLNET_S)
    _slow(ControlNetConditioningEmbedding, "forward", EMBED_S)


def step_s(seconds: float, rows: int) -> float:
    """What ``rows`` of a batch take when two take ``seconds``: more of them fill the device as two do."""
    return seconds * (ONE_BRANCH_SHARE if rows == 1 else rows / 2)


def _slow(place: Any, name: str, seconds: float, *, is_batched: bool = True) -> None:
    """Make function ``name`` of ``place`` take ``seconds``, its own computation included."""
    setattr(place, name, _until(getattr(place, name), seconds, is_batched))


def _until(function: Callable[..., Any], seconds: float, is_batched: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def sleeping(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        answer = function(*args, **kwargs)
        batch = next(len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        long_s = step_s(seconds, batch) if is_batched else seconds
        time.sleep(max(0.0, began + long_s - time.perf_counter()))
        return answer

    return sleeping


def _slow_patches() -> None:
    apply, prepare = Patcher.apply, Patcher.prepare

    def apply_slowly(self: Patcher, loras: Any) -> bool:
        is_changed = apply(self, loras)
        if is_changed and loras:
            time.sleep(LORA_PATCH_S)
        return is_changed

    def prepare_slowly(self: Patcher, lora: Any) -> None:
        prepare(self, lora)  # the last thing a load does in the background
        time.sleep(LORA_LOAD_S)

    Patcher.apply, Patcher.prepare = apply_slowly, prepare_slowly  # type: ignore[method-assign]
