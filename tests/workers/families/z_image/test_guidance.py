"""Z-Image's guidance, judged by the lines of diffusers' pipeline."""

import pytest
import torch
from torch import Tensor

from workers.families.guidance import CFGBranch
from workers.families.z_image.guidance import ZImageGuidance


def guided_by_diffusers(predicted: Tensor, scale: float, normalization: float) -> Tensor:
    """``ZImagePipeline.__call__``, whose sign is the other one."""
    rows = []
    for pos, neg in zip(*predicted.chunk(2), strict=True):
        pred = pos + scale * (pos - neg)
        longest = torch.linalg.vector_norm(pos) * normalization
        if normalization > 0 and torch.linalg.vector_norm(pred) > longest:
            pred = pred * (longest / torch.linalg.vector_norm(pred))
        rows.append(pred)
    return torch.stack(rows)


@pytest.mark.parametrize("normalization", [0.0, 0.5, 1.0, 100.0])
def test_the_conditional_rows_come_first(normalization: float) -> None:
    predicted = torch.randn(4, 4, 8, 12, generator=torch.Generator().manual_seed(1))
    guidance = ZImageGuidance(4.0, normalization)
    assert guidance.first is CFGBranch.COND
    assert torch.equal(guidance.combine(-predicted), -guided_by_diffusers(predicted, 4.0, normalization))


@pytest.mark.parametrize(("scale", "is_guided"), [(0.0, False), (0.5, True), (1.0, True), (4.0, True)])
def test_guidance_is_on_from_any_scale_above_0(scale: float, is_guided: bool) -> None:
    assert ZImageGuidance(scale).is_guided == is_guided


def test_a_truncation_ends_guidance_on_the_way() -> None:
    guidance = ZImageGuidance(4.0, truncation=0.5)
    assert [guidance.is_guided_at(t) for t in (1000.0, 500.0, 499.0, 100.0)] == [True, True, False, False]
    assert ZImageGuidance(4.0, truncation=1.0).is_guided_at(0.0)
    assert not ZImageGuidance(0.0, truncation=0.5).is_guided_at(1000.0)
