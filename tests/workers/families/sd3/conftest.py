"""Stable Diffusion 3 and 3.5 at toy size, and their ControlNets, on a worker."""

from collections.abc import Iterator

import pytest
import torch

from shared.settings import Settings
from tests.tiny_transformers import make_sd3, make_sd3_controlnet
from tests.workers.families.dtypes import DTYPES
from tests.workers.families.transformer.world import TransformerWorld, make_world


@pytest.fixture(scope="module", params=DTYPES)
def world(
    request: pytest.FixtureRequest, servers: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TransformerWorld]:
    """One for each type of numbers."""
    dtype = getattr(torch, request.param)
    pipes = {
        "base": make_sd3(dual_attention=True).to(dtype),
        "large": make_sd3(layers=8, seed=1).to(dtype),
        "without-t5": make_sd3(with_t5=False, qk_norm=False, seed=2).to(dtype),
    }
    controlnets = {
        "medium": ("base", make_sd3_controlnet("medium")),
        "other": ("base", make_sd3_controlnet("medium", seed=2)),
        "deep": ("base", make_sd3_controlnet("medium", layers=5)),
        "pooled": ("base", make_sd3_controlnet("medium", force_zeros_for_pooled_projection=False)),
        "small": ("base", make_sd3_controlnet("medium", pos_embed_max_size=2)),
        "inpaint": ("base", make_sd3_controlnet("inpaint")),
        "inpaint-other": (
            "base",
            make_sd3_controlnet("inpaint", seed=2, force_zeros_for_pooled_projection=False),
        ),
        "channels": ("base", make_sd3_controlnet("medium", extra_conditioning_channels=2)),
        "large-net": ("large", make_sd3_controlnet("large", layers=4)),
        "large-other": ("large", make_sd3_controlnet("large", layers=4, seed=3)),
    }
    named = {name: (base, controlnet.to(dtype)) for name, (base, controlnet) in controlnets.items()}
    with make_world(servers, tmp_path_factory.mktemp("sd3"), pipes, named, request.param) as made:
        yield made
