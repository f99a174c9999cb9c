"""Devices that sleep: this process's forwards take as long as SDXL's at 1024² on an H800, or longer.

Everything else is real: processes, queues, S3, the residual transport. What is slept is the paper's serial
diffusers (2.88 s an image of 50 steps, 1.38 s more with a ControlNet, medians of its artifact's logs)
divided among the parts as they were measured on a CPU; tensors are tiny, so the transport carries
kilobytes where SDXL has 107 MB. Models count with SDXL's bytes against ``SWIFT_MODEL_MEMORY_BYTES``, and a
load takes as long as theirs.

All of it is stretched by the factors beside the catalog (`infra.bench.timed.times`): where few cores carry
many devices, what their processes compute is to be little compared with what they sleep.
"""

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.unets.unet_2d_blocks import CrossAttnUpBlock2D
from torch import Tensor
from transformers import CLIPTextModel

from infra.bench.timed.times import read_times
from shared.settings import read_settings
from workers.families import load_controlnet
from workers.families.base import BaseModel
from workers.families.unet import forward
from workers.families.unet.controlnet import UNetControlNet
from workers.lora.patch import Patcher
from workers.unet.process import build

#: One step of the UNet and of a ControlNet, both CFG branches in one batch, in seconds.
UNET_S, CONTROLNET_S = 0.0535, 0.0276
#: The encoder with the mid block takes this share of the UNet.
ENCODER_SHARE = 0.42
#: Latent parallelism is 1.36 times as fast on an H800: one CFG branch takes this share of both.
ONE_BRANCH_SHARE = 1 / 1.36
#: The rest of an image; a LoRA of 341 MiB on its way into the weights.
TEXT_S, VAE_S, EMBED_S, LORA_PATCH_S = 0.02, 0.165, 0.0007, 0.09
#: What models count as, and how fast they are loaded (part `start`).
MODEL_BYTES, CONTROLNET_BYTES, LOAD_BYTES_PER_S = 6_940_000_000, 3_220_000_000, 1.21e9
#: A device computes one thing at a time, whichever threads ask it to.
_DEVICE = threading.Lock()


def simulate_device() -> None:
    """Make this process's models, VAE, text encoder and LoRA patches as slow as the device's."""
    times = read_times(read_settings().catalog)
    stretch = times.stretch
    slow_step = functools.partial(_slow, stretch * times.step_stretch)
    slow_step(forward, "forward_encoder", ENCODER_SHARE * UNET_S)
    slow_step(CrossAttnUpBlock2D, "forward", UNET_S - ENCODER_SHARE * UNET_S)
    slow_step(UNetControlNet, "features", CONTROLNET_S)
    slow = functools.partial(_slow, stretch)
    slow(ControlNetConditioningEmbedding, "forward", EMBED_S)
    slow(Decoder, "forward", VAE_S, is_batched=False)
    slow(CLIPTextModel, "forward", TEXT_S, is_batched=False)
    _slow_patches(stretch, times.lora_load_s)
    _slow_loads(stretch)


def step_s(seconds: float, rows: int) -> float:
    """What ``rows`` of a batch take when two take ``seconds``: more of them fill the device as two do."""
    return seconds * (ONE_BRANCH_SHARE if rows == 1 else rows / 2)


def _slow(stretch: float, place: Any, name: str, seconds: float, *, is_batched: bool = True) -> None:
    """Make function ``name`` of ``place`` take ``seconds``, its own computation included."""
    setattr(place, name, _until(getattr(place, name), stretch * seconds, is_batched))


def _until(function: Callable[..., Any], seconds: float, is_batched: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def sleeping(*args: Any, **kwargs: Any) -> Any:
        with _DEVICE:
            began = time.perf_counter()
            answer = function(*args, **kwargs)
            batch = next(len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
            long_s = step_s(seconds, batch) if is_batched else seconds
            time.sleep(max(0.0, began + long_s - time.perf_counter()))
            return answer

    return sleeping


def _slow_patches(stretch: float, lora_load_s: float) -> None:
    apply, prepare = Patcher.apply, Patcher.prepare

    def apply_slowly(self: Patcher, loras: Any) -> bool:
        is_changed = apply(self, loras)
        if is_changed and loras:
            time.sleep(stretch * LORA_PATCH_S)
        return is_changed

    def prepare_slowly(self: Patcher, lora: Any) -> None:
        prepare(self, lora)  # the last thing a load does in the background
        time.sleep(stretch * lora_load_s)

    Patcher.apply, Patcher.prepare = apply_slowly, prepare_slowly  # type: ignore[method-assign]


def _slow_loads(stretch: float) -> None:
    """Let loads take as long as those of large models, which count as these do."""
    for_models: Any = build
    for_models.load_entry = _slowed_load(for_models.load_entry, stretch, MODEL_BYTES)
    for_models.estimate_bytes = lambda *args: MODEL_BYTES
    BaseModel.weight_bytes = property(lambda self: MODEL_BYTES)  # type: ignore[assignment,method-assign]
    for_controlnets: Any = load_controlnet
    slowed = _slowed_load(for_controlnets.load_controlnet, stretch, CONTROLNET_BYTES)

    def load(*args: Any, **kwargs: Any) -> Any:
        loaded = slowed(*args, **kwargs)
        loaded.weight_bytes = CONTROLNET_BYTES
        return loaded

    for_controlnets.load_controlnet = load
    for_controlnets.estimate_bytes = lambda *args: CONTROLNET_BYTES


def _slowed_load(load: Callable[..., Any], stretch: float, size_bytes: int) -> Callable[..., Any]:
    @functools.wraps(load)
    def loading(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        loaded = load(*args, **kwargs)
        long_s = stretch * size_bytes / LOAD_BYTES_PER_S
        time.sleep(max(0.0, began + long_s - time.perf_counter()))
        return loaded

    return loading
