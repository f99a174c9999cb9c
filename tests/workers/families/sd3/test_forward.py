"""Stable Diffusion 3's forward and its ControlNets', of real depths, held against diffusers', bit for bit."""

import copy
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.families.sd3 import SD3
from tests.tiny_transformers import make_sd3, make_sd3_controlnet
from tests.workers.families.dtypes import in_turn
from workers.families.sd3.conditioning import SD3Conditioning
from workers.families.sd3.controlnet import SD3ControlNet
from workers.families.sd3.forward import staged_forward
from workers.families.staged_forward import run_to_end
from workers.families.transformer.controlnet import TransformerControlNetForward

ROWS, HEIGHT, WIDTH, TEXT = 2, 12, 16, 5
#: Base models by name, and ControlNets as people have them: kind, layers, and how many residuals are read.
BASES: dict[str, dict[str, Any]] = {
    "3 medium": {"layers": 24, "qk_norm": False},
    "3.5 medium": {"layers": 24, "dual_attention": True},
    "3.5 large": {"layers": 38},
}
CONTROLNETS = [
    ("3 medium", "medium", 6, 6),
    ("3 medium", "medium", 23, 22),
    ("3.5 medium", "medium", 12, 12),
    ("3.5 large", "large", 19, 19),
    ("3.5 large", "medium", 11, 11),
]


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def bases(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {name: copy.deepcopy(make_base(name)).to(request.param) for name in BASES}


@functools.cache
def make_base(name: str) -> Any:
    """The transformer, in single precision; nobody changes it."""
    return make_sd3(**BASES[name]).transformer


class Step:
    """What both are given."""

    def __init__(self, transformer: Any) -> None:
        self.dtype, config = transformer.dtype, transformer.config
        self.x = self._random(1, ROWS, config.in_channels, HEIGHT, WIDTH)
        self.control = self._random(2, *self.x.shape)
        self.t = torch.tensor(731.25)
        self.conditioning = SD3Conditioning(
            self._random(3, ROWS, TEXT, config.joint_attention_dim),
            self._random(4, ROWS, config.pooled_projection_dim),
        )

    def _random(self, seed: int, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(self.dtype)

    def options(self) -> dict[str, Any]:
        """Arguments of diffusers' forwards."""
        return {
            "hidden_states": self.x,
            "timestep": self.t.expand(ROWS),
            "encoder_hidden_states": self.conditioning.embeddings,
            "pooled_projections": self.conditioning.pooled,
            "return_dict": False,
        }


def has_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) and bool(a.isfinite().all()) and float(a.float().std()) > 0


def make_controlnet(transformer: Any, kind: Any, layers: int, **options: Any) -> SD3ControlNet:
    model = make_sd3_controlnet(kind, layers=layers, **options).to(transformer.dtype)
    if model.pos_embed is None:  # as the pipeline does
        model.pos_embed = model._get_pos_embed_from_transformer(transformer).to(transformer.dtype)
    return SD3ControlNet("net", model, SD3, transformer.config)


def residuals(control_net: SD3ControlNet, step: Step) -> TransformerControlNetForward:
    prepared = control_net.prepare(step.conditioning.controlnet_inputs)
    return control_net.forward(step.x, step.t.expand(ROWS), prepared, control_net.embed(step.control, ROWS))


@pytest.mark.parametrize("base", BASES)
@torch.inference_mode()
def test_a_forward_that_nothing_guides_is_diffusers_forward(bases: dict[str, Any], base: str) -> None:
    transformer = bases[base]
    step = Step(transformer)
    forward = staged_forward(transformer, step.x, step.t, step.conditioning, None)
    assert has_bits(run_to_end(forward, next(forward), None), transformer(**step.options())[0])


@pytest.mark.parametrize(
    "number", range(len(CONTROLNETS)), ids=["-".join(map(str, one)) for one in CONTROLNETS]
)
@torch.inference_mode()
def test_a_guided_forward_is_diffusers_forward(bases: dict[str, Any], number: int) -> None:
    base, kind, layers, read = CONTROLNETS[number]
    transformer = bases[base]
    is_zeroed = in_turn(str(transformer.dtype).removeprefix("torch."), [True, False], number)
    step = Step(transformer)
    control_net = make_controlnet(transformer, kind, layers, force_zeros_for_pooled_projection=is_zeroed)
    assert len(control_net.order) == read
    # Given that each residual is computed when the base model asks for it, and not before
    log: list[str] = []
    computed = residuals(control_net, step)

    def residual(index: int) -> Tensor:
        made, found = next(computed)
        log.append(f"asked for {index}, computed {made}")
        return control_net.scale(found, made, 0.7, guess_mode=False)

    plan = SD3.control_plan(control_net.model.config, transformer.config)
    forward = staged_forward(transformer, step.x, step.t, step.conditioning, plan)
    ours = run_to_end(forward, next(forward), residual)
    assert log == [f"asked for {index}, computed {index}" for index in control_net.order]
    # Then diffusers, which runs one after the other, comes to the same
    given = step.options()
    if control_net.model.context_embedder is None:
        given["encoder_hidden_states"] = None
    if is_zeroed:
        given["pooled_projections"] = torch.zeros_like(step.conditioning.pooled)
    theirs = control_net.model(controlnet_cond=step.control, conditioning_scale=0.7, **given)[0]
    assert has_bits(ours, transformer(block_controlnet_hidden_states=theirs, **step.options())[0])
    assert not has_bits(ours, transformer(**step.options())[0])


@torch.inference_mode()
def test_rows_that_are_dropped_before_the_first_residual_change_no_other(bases: dict[str, Any]) -> None:
    transformer = bases["3.5 medium"]
    if transformer.dtype != torch.float32:
        pytest.skip("the batch size changes the last bits of others")
    step, control_net = Step(transformer), make_controlnet(transformer, "medium", 12)
    kept = residuals(control_net, step)
    kept.select_rows(torch.tensor([False, True]))
    for (index, whole), (same, row) in zip(residuals(control_net, step), kept, strict=True):
        assert index == same
        torch.testing.assert_close(row, whole[1:], rtol=1e-4, atol=1e-5)
