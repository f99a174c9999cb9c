"""The sizes that SDXL is told beside the prompt: (height, width) pairs, as diffusers' pipelines lay them."""

import torch
from torch import Tensor

from shared.jobs.spec import JobSpec
from workers.families.base_model import BaseModel

Size = tuple[int, int]


def time_ids(model: BaseModel, spec: JobSpec, *, guided: bool, dtype: torch.dtype) -> Tensor:
    """One row of 6 for each row of a step, the unconditional half first when guided."""
    cond = _row(model, spec, spec.original_size, spec.crops_coords_top_left, spec.target_size, dtype)
    if not guided:
        return cond.repeat(spec.num_images, 1)
    if spec.image is not None:
        return torch.cat([row.repeat(spec.num_images, 1) for row in (_of_image(model, spec, dtype), cond)])
    # From text, diffusers repeats the pair, not its halves: the rows alternate if there are several pictures.
    return torch.cat([_of_text(model, spec, cond), cond]).repeat(spec.num_images, 1)


def _of_text(model: BaseModel, spec: JobSpec, cond: Tensor) -> Tensor:
    """The unconditional row counts only when both of its sizes are given."""
    original, target = spec.negative_original_size, spec.negative_target_size
    if original is None or target is None:
        return cond
    return _row(model, spec, original, spec.negative_crops_coords_top_left, target, cond.dtype)


def _of_image(model: BaseModel, spec: JobSpec, dtype: torch.dtype) -> Tensor:
    """Each size counts for itself, and the crop is the conditional half's."""
    original = spec.negative_original_size or spec.original_size
    target = spec.negative_target_size or spec.target_size
    return _row(model, spec, original, spec.crops_coords_top_left, target, dtype)


def _row(
    model: BaseModel,
    spec: JobSpec,
    original: Size | None,
    crop: Size,
    target: Size | None,
    dtype: torch.dtype,
) -> Tensor:
    """``(1, 6)``; sizes that are not given are the picture's."""
    width, height = model.size(spec.width, spec.height)
    row: Tensor = model.pipe._get_add_time_ids(
        original or (height, width),
        crop,
        target or (height, width),
        dtype=dtype,
        text_encoder_projection_dim=model.pipe.text_encoder_2.config.projection_dim,
    )
    return row.to(model.pipe.device)
