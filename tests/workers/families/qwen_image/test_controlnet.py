"""Qwen-Image's forward and its ControlNets', of real depths, held against diffusers' own, bit for bit."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.families.qwen_image import QWEN_IMAGE
from tests.tiny_transformers import make_qwen_image, make_qwen_image_controlnet
from workers.families.qwen_image.conditioning import QwenImageConditioning
from workers.families.qwen_image.controlnet import QwenImageControlNet
from workers.families.qwen_image.forward import staged_forward
from workers.families.staged_forward import run_to_end

ROWS, HEIGHT, WIDTH, TEXT = 2, 3, 4, 5
#: Of Qwen-Image, and of ControlNets: layers, and how many of their residuals are read.
DEPTH = 60
CONTROLNETS = [(5, 5), (7, 7), (11, 10)]


@functools.cache
def make_base(dtype: torch.dtype) -> Any:
    return make_qwen_image(layers=DEPTH).transformer.to(dtype)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def transformer(request: pytest.FixtureRequest) -> Iterator[Any]:
    with torch.inference_mode():
        yield make_base(request.param)


class Step:
    """What both are given."""

    def __init__(self, transformer: Any) -> None:
        self._dtype, config = transformer.dtype, transformer.config
        self.x = self._random(1, HEIGHT * WIDTH, config.in_channels)
        self.control = self._random(2, HEIGHT * WIDTH, config.in_channels)
        self.t = torch.tensor(731.25)
        self.conditioning = QwenImageConditioning(
            self._random(3, TEXT, config.joint_attention_dim), torch.zeros(ROWS, HEIGHT, WIDTH)
        )

    def _random(self, seed: int, *shape: int) -> Tensor:
        return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(seed)).to(self._dtype)

    def options(self) -> dict[str, Any]:
        """Arguments of diffusers' forwards."""
        return {
            "hidden_states": self.x,
            "timestep": self.t.expand(ROWS).to(self._dtype) / 1000,
            "encoder_hidden_states": self.conditioning.embeddings,
            "img_shapes": [[(1, HEIGHT, WIDTH)]] * ROWS,
            "return_dict": False,
        }


def has_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) and bool(a.isfinite().all()) and float(a.float().std()) > 0


def test_a_forward_that_nothing_guides_is_diffusers_forward(transformer: Any) -> None:
    step = Step(transformer)
    forward = staged_forward(transformer, step.x, step.t, step.conditioning, None)
    assert has_bits(run_to_end(forward, next(forward), None), transformer(**step.options())[0])


@pytest.mark.parametrize(("layers", "read"), CONTROLNETS)
def test_a_guided_forward_is_diffusers_forward(transformer: Any, layers: int, read: int) -> None:
    step, model = Step(transformer), make_qwen_image_controlnet(layers=layers).to(transformer.dtype)
    controlnet = QwenImageControlNet("net", model, QWEN_IMAGE, transformer.config)
    assert len(controlnet.order) == read
    prepared = controlnet.prepare(step.conditioning.controlnet_inputs)
    computed = controlnet.forward(step.x, step.t.expand(ROWS), prepared, controlnet.embed(step.control, ROWS))

    def residual(index: int) -> Tensor:
        made, found = next(computed)
        assert made == index
        return controlnet.scale(found, index, 0.7, guess_mode=False)

    plan = QWEN_IMAGE.control_plan(model.config, transformer.config)
    forward = staged_forward(transformer, step.x, step.t, step.conditioning, plan)
    ours = run_to_end(forward, next(forward), residual)
    theirs = model(controlnet_cond=step.control, conditioning_scale=0.7, **step.options())
    assert has_bits(ours, transformer(controlnet_block_samples=theirs, **step.options())[0])
    assert not has_bits(ours, transformer(**step.options())[0])
