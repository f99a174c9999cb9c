"""The same jobs by diffusers' own pipelines in this process, used as their users use them."""

import time
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch
import transformers
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

from infra.bench.workloads.addon_jobs import GUIDANCE, PROMPT
from infra.bench.workloads.workload import Workload
from infra.emoji_files import CONTROL
from shared.catalog.schedulers import SCHEDULERS


class PeerImage(NamedTuple):
    """An image and the seconds from the request to it, LoRA included."""

    seconds: float
    pixels: NDArray[np.uint8]


class DiffusersAddons:
    """One workload's pipelines, everything loaded but the LoRA, which comes with its request."""

    def __init__(self, workload: Workload, steps: int) -> None:
        for library in (diffusers, transformers):
            library.utils.logging.disable_progress_bar()
            library.utils.logging.set_verbosity_error()
        options: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False}
        self._plain = StableDiffusionPipeline.from_pretrained(workload.model, dtype=torch.float32, **options)
        kind = SCHEDULERS["ddim"]
        scheduler = getattr(diffusers, kind.name).from_config(self._plain.scheduler.config, **kind.options)
        self._plain.scheduler = scheduler
        controlnet = ControlNetModel.from_pretrained(
            workload.controlnet(workload.controlnets[0]), dtype=torch.float32
        )
        self._guided = StableDiffusionControlNetPipeline(
            **self._plain.components, controlnet=controlnet, requires_safety_checker=False
        )
        for pipe in (self._plain, self._guided):
            pipe.set_progress_bar_config(disable=True)
        self._control = Image.open(CONTROL).convert("RGB")
        self._lora = workload.loras[0]
        self._steps = steps
        self._side_px = workload.side_px  # else that of the control image

    def generate(self, config: str, seed: int, *, fuse: bool = False) -> PeerImage:
        """Generate ``config``; what it loaded is unloaded again, outside of the time.

        The LoRA stays beside the weights, as `load_lora_weights` leaves it; ``fuse`` writes it into them.
        What was fused never leaves them as they were: no later image can be held against ours.
        """
        pipe: Any = self._guided if "1c" in config else self._plain
        options: dict[str, Any] = {"image": self._control} if "1c" in config else {}
        start = time.perf_counter()
        if "1l" in config:
            pipe.load_lora_weights(str(self._lora.parent.resolve()), weight_name=self._lora.name)
            if fuse:
                pipe.fuse_lora()
        image = pipe(
            PROMPT,
            num_inference_steps=self._steps,
            guidance_scale=GUIDANCE,
            width=self._side_px,
            height=self._side_px,
            generator=torch.Generator().manual_seed(seed),
            **options,
        ).images[0]
        took_s = time.perf_counter() - start
        if "1l" in config:
            pipe.unload_lora_weights()
        return PeerImage(took_s, np.asarray(image))
