"""Qwen-Image at toy size and its ControlNets, on a worker."""

from collections.abc import Iterator

import pytest
import torch

from shared.settings import Settings
from tests.tiny_transformers import make_qwen_image, make_qwen_image_controlnet
from tests.workers.families.dtypes import DTYPES
from tests.workers.families.transformer.world import TransformerWorld, make_world

#: As LoRAs of Qwen-Image-Lightning want it.
ENTRIES = {
    "lightning": 'scheduler_config = {base_shift = 1.0986, max_shift = 1.0986, shift_terminal = "none"}'
}


@pytest.fixture(scope="module", params=DTYPES)
def world(
    request: pytest.FixtureRequest, servers: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TransformerWorld]:
    """One for each type of numbers."""
    dtype = getattr(torch, request.param)
    controlnets = {
        "two": make_qwen_image_controlnet(),
        "inpaint": make_qwen_image_controlnet("inpaint", seed=3),
        "four": make_qwen_image_controlnet(layers=4, seed=2),
    }
    named = {name: ("base", controlnet.to(dtype)) for name, controlnet in controlnets.items()}
    base = make_qwen_image().to(dtype)
    pipes = {"base": base, "lightning": base}
    folder = tmp_path_factory.mktemp("qwen-image")
    with make_world(servers, folder, pipes, named, request.param, ENTRIES) as made:
        yield made
