"""Jobs of a Flux model by diffusers' own pipelines in this process, used as their users use them."""

import time
from itertools import pairwise
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch
import transformers
from diffusers import FluxControlNetModel, FluxControlNetPipeline, FluxPipeline
from numpy.typing import NDArray
from PIL import Image

from infra.bench.workloads.addon_jobs import GUIDANCE, PROMPT
from infra.bench.workloads.workload import Workload
from infra.emoji_files import CONTROL


class FluxImage(NamedTuple):
    """An image, and how long it and each of its steps took."""

    seconds: float
    steps_s: list[float]
    pixels: NDArray[np.uint8]


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

    def generate(self, config: str, seed: int) -> FluxImage:
        """Generate ``config``: ``0c0l`` or ``1c0l``."""
        pipe: Any = self._guided if "1c" in config else self._plain
        options: dict[str, Any] = {"control_image": self._control} if "1c" in config else {}
        ends: list[float] = []

        def note_end(*_: object) -> dict[str, Any]:
            ends.append(time.perf_counter())
            return {}

        start = time.perf_counter()
        image = pipe(
            PROMPT,
            num_inference_steps=self._steps,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(seed),
            callback_on_step_end=note_end,
            **self._workload.job_fields,
            **options,
        ).images[0]
        seconds = time.perf_counter() - start
        steps_s = [end - begin for begin, end in pairwise([start, *ends])]
        return FluxImage(seconds, steps_s, np.asarray(image))
