"""Jobs of a Flux model by diffusers' own pipelines in this process, used as their users use them."""

import time
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers import FluxControlNetModel, FluxControlNetPipeline, FluxPipeline
from PIL import Image

from infra.bench.baselines.diffusers_addons import PeerImage
from infra.bench.workloads.addon_jobs import GUIDANCE, PROMPT
from infra.bench.workloads.workload import Workload
from infra.emoji_files import CONTROL


class DiffusersFlux:
    """One workload's pipelines, everything loaded."""

    def __init__(self, workload: Workload, steps: int) -> None:
        for library in (diffusers, transformers):
            library.utils.logging.disable_progress_bar()
            library.utils.logging.set_verbosity_error()
        self._plain = FluxPipeline.from_pretrained(workload.model, dtype=torch.float32)
        controlnet = FluxControlNetModel.from_pretrained(
            workload.controlnet(workload.controlnets[0]), dtype=torch.float32
        )
        self._guided = FluxControlNetPipeline(**self._plain.components, controlnet=controlnet)
        for pipe in (self._plain, self._guided):
            pipe.set_progress_bar_config(disable=True)
        self._control = Image.open(CONTROL).convert("RGB")
        self._workload, self._steps = workload, steps

    def generate(self, config: str, seed: int) -> PeerImage:
        """Generate ``config``: ``0c0l`` or ``1c0l``."""
        pipe: Any = self._guided if "1c" in config else self._plain
        options: dict[str, Any] = {"control_image": self._control} if "1c" in config else {}
        start = time.perf_counter()
        image = pipe(
            PROMPT,
            num_inference_steps=self._steps,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(seed),
            **self._workload.job_fields,
            **options,
        ).images[0]
        return PeerImage(time.perf_counter() - start, np.asarray(image))
