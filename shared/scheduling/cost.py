"""How much there is to compute for a job: what its estimate is made of."""

from typing import NamedTuple

from shared.jobs.spec import JobSpec

#: Side of an image whose size is the model's own: nobody has loaded the model here.
DEFAULT_SIDE_PX = 512


class Work(NamedTuple):
    """The denoising loop of a job: ``steps`` forward passes of ``rows`` latents of ``pixels``."""

    steps: int
    rows: int  # images, twice where they are guided
    pixels: int  # of one image
    shape: str  # jobs of a model with the same shape take equally long for a step


def work_of(spec: JobSpec) -> Work:
    """The work of an accepted job."""
    guided = 2 if spec.guidance_scale > 1 else 1
    rows = guided * len(spec.image_seeds)
    width, height = spec.width or DEFAULT_SIDE_PX, spec.height or DEFAULT_SIDE_PX
    size = f"{spec.width or 'own'}x{spec.height or 'own'}"
    return Work(
        steps=_count_steps(spec),
        rows=rows,
        pixels=width * height,
        shape=f"{size}x{rows}:{len(spec.controlnets)}",
    )


def _count_steps(spec: JobSpec) -> int:
    if spec.timesteps:
        return len(spec.timesteps)
    if spec.sigmas:
        return len(spec.sigmas) - 1
    if spec.image is not None and spec.strength is not None:  # only the last part of the steps is computed
        return max(round(spec.num_inference_steps * spec.strength), 1)
    return spec.num_inference_steps
