"""Part ``quality``: what bounded LoRA loading and lossy residuals do to images, through the whole fleet.

Each image is compared with its exact counterpart: the LoRA from step 0, or unchanged residuals. A job whose
LoRA takes effect at step ``k`` runs in mode ``replay``, so a figure for ``k`` is that of a LoRA that arrived
then; the default bound is measured at its last step. The measures are SSIM and PSNR
(`infra.emoji.training.evaluate`).
"""

import base64
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

import numpy as np

from infra.bench.harness.fleet import Fleet, read_pixels, running_fleet
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.emoji.training.data.emoji_sets import Floats
from infra.emoji.training.data.subjects import COLOUR_NAMES
from infra.emoji.training.evaluate.prompts import EDGES, STYLED
from infra.emoji.training.evaluate.retrieval import background
from infra.emoji.training.evaluate.scores import psnr_db, ssim
from infra.emoji_files import EMOJI

LORAS = ("twemoji", "outline")
STEPS, GUIDANCE = 25, 3.0
#: As in `workers.lora.schedule`: a fifth of the steps.
DEFAULT_BOUND = STEPS // 5
LATE = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 21)
LATE_QUICK = (2, DEFAULT_BOUND, 10)
CODECS = ("float16", "int8")
BOUNDS = {f"ssim_bounded_default_{lora}": Bound("at_least", 0.98) for lora in LORAS}
SEED = 70


def measure(quick: bool) -> Measured:
    """Generate pairs of images and compare them."""
    late, prompts, images = (LATE_QUICK, STYLED[:2], 1) if quick else (LATE, STYLED, 2)
    samples: dict[str, list[float]] = {}
    # Residuals that are not sent lose nothing: the UNet worker must not compute them itself.
    none = {"worker_controlnets": ("none",)}
    with running_fleet(unet_workers=1, controlnet_workers=1, **none) as fleet:
        for lora in LORAS:
            fleet.put_lora(lora, (EMOJI / "loras" / f"{lora}.safetensors").read_bytes())
            _measure_lora(fleet, lora, late, prompts, images, samples)
        _measure_codecs(fleet, 3 if quick else len(EDGES), samples)
    figures = {name: mean(values) for name, values in samples.items()}
    for lora in LORAS:
        figures[f"ssim_bounded_default_{lora}"] = figures[f"ssim_k{DEFAULT_BOUND}_{lora}"]
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """SSIM and PSNR over the step at which a LoRA took effect; what each codec leaves."""
    decibels = left.twinx()
    for lora in LORAS:
        known = [k for k in LATE if f"ssim_k{k}_{lora}" in result.figures]
        left.plot([0, *known], [1.0, *(result.figures[f"ssim_k{k}_{lora}"] for k in known)], ".-", label=lora)
        psnr_db = [mean(result.samples[f"psnr_db_k{k}_{lora}"]) for k in known]
        decibels.plot(known, psnr_db, "x--", alpha=0.5)
    decibels.set(ylabel="PSNR in dB (crosses)")
    left.axhline(0.98, linestyle=":", color="gray", label="target of the default bound")
    left.axvline(DEFAULT_BOUND, linestyle="--", color="gray", label="default bound")
    left.set(xlabel="first step with the LoRA", ylabel="SSIM", title="a LoRA that arrives late")
    left.legend()
    right.boxplot([result.samples[f"ssim_codec_{codec}"] for codec in CODECS], tick_labels=CODECS)
    right.set(ylabel="SSIM", title="residuals with loss, against exact")


def _measure_lora(
    fleet: Fleet,
    lora: str,
    late: Sequence[int],
    prompts: Sequence[str],
    images: int,
    samples: dict[str, list[float]],
) -> None:
    print(f"  {lora}: in effect from steps 0, {', '.join(map(str, late))}", flush=True)
    for i, prompt in enumerate(prompts):
        generated = {k: _generate_late(fleet, lora, k, prompt, SEED + images * i, images) for k in (0, *late)}
        colour = next(n for n, name in enumerate(COLOUR_NAMES) if f"a {name} background" in prompt)
        for k, compared in generated.items():
            right = [float(background(image) == colour) for image in compared]
            samples.setdefault(f"right_background_k{k}_{lora}", []).extend(right)
            if k:
                _compare(compared, generated[0], f"k{k}_{lora}", samples)


def _generate_late(fleet: Fleet, lora: str, k: int, prompt: str, seed: int, images: int) -> list[Floats]:
    body = _body(prompt, seed) | {
        "num_images": images,
        "loras": [{"name": lora}],
        "lora_loading": {"mode": "replay", "steps": {lora: k}},
    }
    job = fleet.generate(body)[1]
    if [used["step"] for used in job["receipt"]["loras"]] != [k]:
        raise CheckFailed(f"job {job['id']}: the LoRA took effect elsewhere than at step {k}")
    return _load_images(fleet, job)


def _measure_codecs(fleet: Fleet, count: int, samples: dict[str, list[float]]) -> None:
    print(f"  residuals: exact twice, {', '.join(CODECS)}", flush=True)
    for i, example in enumerate(EDGES[:count]):
        control = next((EMOJI / "control").glob(f"{i}_*.png"))
        controlnet = {"name": "edge", "image": base64.b64encode(control.read_bytes()).decode()}
        body = _body(example.prompt, SEED + i) | {"controlnets": [controlnet]}
        exact, again = (_load_images(fleet, fleet.generate(body)[1]) for _ in range(2))
        if not np.array_equal(exact[0], again[0]):
            raise CheckFailed(f"{example.prompt}: the same exact job generated two different images")
        for codec in CODECS:
            job = fleet.generate(body | {"residual_precision": codec})[1]
            if job["receipt"]["spec"]["residual_precision"] != codec:
                raise CheckFailed(f"job {job['id']}: its receipt does not show of {codec}")
            _compare(_load_images(fleet, job), exact, f"codec_{codec}", samples)


def _compare(
    compared: Sequence[Floats], exact: Sequence[Floats], name: str, samples: dict[str, list[float]]
) -> None:
    for image, twin in zip(compared, exact, strict=True):
        samples.setdefault(f"ssim_{name}", []).append(ssim(image, twin))
        samples.setdefault(f"psnr_db_{name}", []).append(psnr_db(image, twin))


def _body(prompt: str, seed: int) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "seed": seed,
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
        "scheduler": "ddim",
        "latent_parallelism": "off",
    }


def _load_images(fleet: Fleet, job: dict[str, Any]) -> list[Floats]:
    """Each ``(64, 64, 3)``, 0 to 1."""
    return list(_read(fleet, job))


def _read(fleet: Fleet, job: dict[str, Any]) -> Iterator[Floats]:
    for image in job["images"]:
        yield np.asarray(read_pixels(fleet.ask("GET", image["url"])), np.float32) / np.float32(255)
