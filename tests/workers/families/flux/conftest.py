"""Flux at toy size: dev, schnell and their ControlNets, on a worker."""

from collections.abc import Iterator

import pytest
import torch

from shared.settings import Settings
from tests.tiny_transformers import make_flux, make_flux_controlnet
from tests.workers.families.dtypes import DTYPES
from tests.workers.families.transformer.world import TransformerWorld, make_world

#: Options in place of those of the scheduler's config.
ENTRIES = {
    "shifted": 'scheduler_config = {max_shift = 2.5, shift_terminal = 0.1, time_shift_type = "linear"}'
}


@pytest.fixture(scope="module", params=DTYPES)
def world(
    request: pytest.FixtureRequest, servers: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TransformerWorld]:
    """One for each type of numbers."""
    dtype = getattr(torch, request.param)
    base = make_flux().to(dtype)
    pipes = {
        "base": base,
        "shifted": base,
        "schnell": make_flux(guidance_embeds=False, seed=1).to(dtype),
    }
    controlnets = {
        "both": make_flux_controlnet("5/10"),
        "other": make_flux_controlnet("5/10", seed=2),
        "double": make_flux_controlnet("6/0"),
        "short": make_flux_controlnet("6/0", num_layers=2),
        "union": make_flux_controlnet("union"),
        "xlabs": make_flux_controlnet("xlabs"),
        "other-xlabs": make_flux_controlnet("xlabs", seed=5),
        "unguided": make_flux_controlnet("5/10", guidance_embeds=False, seed=3),
    }
    named = {name: ("base", controlnet.to(dtype)) for name, controlnet in controlnets.items()}
    named["schnell-both"] = ("schnell", make_flux_controlnet("5/10", seed=4).to(dtype))
    folder = tmp_path_factory.mktemp("flux")
    with make_world(servers, folder, pipes, named, request.param, ENTRIES) as made:
        yield made
