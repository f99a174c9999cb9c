"""How much there is to compute for a job: what its estimate is made of."""

from typing import NamedTuple

from shared.catalog.schedulers import SCHEDULERS
from shared.families.base import FamilyFacts
from shared.jobs.spec import JobSpec

#: Side of an image whose size is the model's own: nobody has loaded the model here.
DEFAULT_SIDE_PX = 512


class Work(NamedTuple):
    """The denoising loop of a job: ``steps`` forward passes of ``rows`` latents of ``pixels``."""

    steps: int
    rows: int  # images, twice where they are guided
    pixels: int  # of one image
    shape: str  # jobs of a model with the same shape take equally long for a step


def work_of(spec: JobSpec, facts: FamilyFacts | None) -> Work:
    """The work of an accepted job; ``facts`` are of its model's family, if that is known."""
    rows = (2 if _is_guided(spec, facts) else 1) * len(spec.image_seeds)
    width, height = spec.width or DEFAULT_SIDE_PX, spec.height or DEFAULT_SIDE_PX
    size = f"{spec.width or 'own'}x{spec.height or 'own'}"
    return Work(
        steps=_count_steps(spec),
        rows=rows,
        pixels=width * height,
        shape=f"{size}x{rows}:{len(spec.controlnets)}",
    )


def _is_guided(spec: JobSpec, facts: FamilyFacts | None) -> bool:
    if facts is None:
        return spec.guidance_scale > 1
    has_negative = spec.negative_prompt is not None
    return facts.is_guided(spec.guidance_scale, spec.true_cfg_scale, has_negative_prompt=has_negative)


def _count_steps(spec: JobSpec) -> int:
    """Of a job from an image the last part of the steps alone, whether it counts or places them."""
    count, scheduler = spec.num_inference_steps, SCHEDULERS.get(spec.scheduler)
    if spec.image is None or spec.strength is None or scheduler is None:
        return count
    return max(count - scheduler.skipped_steps(count, spec.strength), 1)
