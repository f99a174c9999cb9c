"""Flux's forward and its ControlNets', of real depths, held against diffusers' own, bit for bit."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.errors import ControlNetFailed, ModelFailed
from shared.families.controlnets import ControlPlan
from shared.families.flux import FLUX
from tests.tiny_transformers import make_flux, make_flux_controlnet
from workers.families.flux.conditioning import FluxConditioning
from workers.families.flux.controlnet import FluxControlNet
from workers.families.flux.forward import staged_forward
from workers.families.staged_forward import run_to_end

ROWS, HEIGHT, WIDTH, TEXT = 2, 3, 4, 5
#: Blocks of dev: double and single.
DEPTHS = (19, 38)
#: Blocks of ControlNets as people have them, and how many of their residuals are read.
CONTROLNETS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "5/10": ("5/10", {"num_layers": 5, "num_single_layers": 10}, 15),
    "6/0": ("6/0", {"num_layers": 6}, 5),
    "4/0": ("6/0", {"num_layers": 4}, 4),
    "6/7": ("5/10", {"num_layers": 6, "num_single_layers": 7}, 12),
    "union": ("union", {"num_layers": 5, "num_single_layers": 10}, 15),
    "xlabs": ("xlabs", {"num_layers": 2}, 2),
}


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def transformer(request: pytest.FixtureRequest) -> Iterator[Any]:
    with torch.inference_mode():
        yield make_flux(layers=DEPTHS).transformer.to(request.param)


class Step:
    """What both are given."""

    def __init__(self, transformer: Any) -> None:
        self.dtype, config = transformer.dtype, transformer.config
        self.x = self._random(1, ROWS, HEIGHT * WIDTH, config.in_channels)
        self.t = torch.tensor(731.25)
        positions = torch.zeros(HEIGHT, WIDTH, 3)
        positions[..., 1] += torch.arange(HEIGHT)[:, None]
        positions[..., 2] += torch.arange(WIDTH)[None, :]
        self.conditioning = FluxConditioning(
            embeddings=self._random(2, ROWS, TEXT, config.joint_attention_dim),
            pooled=self._random(3, ROWS, config.pooled_projection_dim),
            guidance=torch.tensor([3.5] * ROWS),
            positions=positions.to(self.dtype).repeat(ROWS, 1, 1, 1),
        )

    def _random(self, seed: int, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(self.dtype)

    def control(self, model: Any) -> Tensor:
        """A control image: latents, or pixels."""
        if model.input_hint_block is not None:
            return self._random(4, ROWS, 3, 16 * HEIGHT, 16 * WIDTH)
        return self._random(4, *self.x.shape)

    def options(self, *, is_guided: bool) -> dict[str, Any]:
        """Arguments of diffusers' forwards."""
        return {
            "hidden_states": self.x,
            "timestep": self.t.expand(ROWS).to(self.dtype) / 1000,
            "guidance": self.conditioning.guidance if is_guided else None,
            "pooled_projections": self.conditioning.pooled,
            "encoder_hidden_states": self.conditioning.embeddings,
            "txt_ids": torch.zeros(TEXT, 3, dtype=self.dtype),
            "img_ids": self.conditioning.positions[0].reshape(-1, 3),
            "return_dict": False,
        }


def has_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) and bool(a.isfinite().all()) and float(a.float().std()) > 0


def residuals(control_net: FluxControlNet, step: Step, mode: int | None) -> Iterator[tuple[int, Tensor]]:
    """Those of a step, scaled to 0.7."""
    prepared = control_net.prepare(step.conditioning.controlnet_inputs)
    control = control_net.embed(step.control(control_net.model), ROWS)
    for index, residual in control_net.forward(step.x, step.t.expand(ROWS), prepared, control, mode):
        yield index, control_net.scale(residual, index, 0.7, guess_mode=False)


@torch.inference_mode()
def test_a_forward_that_nothing_guides_is_diffusers_forward(transformer: Any) -> None:
    step = Step(transformer)
    forward = staged_forward(transformer, step.x, step.t, step.conditioning, None)
    ours = run_to_end(forward, next(forward), None)
    assert has_bits(ours, transformer(**step.options(is_guided=True))[0])


@pytest.mark.parametrize("name", CONTROLNETS)
@torch.inference_mode()
def test_a_guided_forward_is_diffusers_forward(transformer: Any, name: str) -> None:
    kind, options, read = CONTROLNETS[name]
    model, step = make_flux_controlnet(kind, **options).to(transformer.dtype), Step(transformer)
    mode = 2 if model.union else None
    control_net = FluxControlNet(name, model, FLUX, transformer.config)
    assert len(control_net.order) == read
    # Given that each residual is computed when the base model asks for it, and not before
    log: list[str] = []
    computed = residuals(control_net, step, mode)

    def residual(index: int) -> Tensor:
        made, found = next(computed)
        log.append(f"asked for {index}, computed {made}")
        return found

    plan = FLUX.control_plan(model.config, transformer.config)
    forward = staged_forward(transformer, step.x, step.t, step.conditioning, plan)
    ours = run_to_end(forward, next(forward), residual)
    assert log == [f"asked for {index}, computed {index}" for index in control_net.order]
    # Then diffusers, which runs one after the other, comes to the same
    double, single = model(
        controlnet_cond=step.control(model),
        controlnet_mode=None if mode is None else torch.full((ROWS, 1), mode),
        conditioning_scale=0.7,
        **step.options(is_guided=model.config.guidance_embeds),
    )
    theirs = transformer(
        controlnet_block_samples=double,
        controlnet_single_block_samples=single,
        controlnet_blocks_repeat=model.input_hint_block is not None,
        **step.options(is_guided=True),
    )[0]
    assert has_bits(ours, theirs)


@torch.inference_mode()
def test_rows_that_are_dropped_before_the_first_residual_change_no_other(transformer: Any) -> None:
    if transformer.dtype != torch.float32:
        pytest.skip("the batch size changes the last bits of others")
    step, control_net = Step(transformer), controlnet(transformer)
    inputs = control_net.prepare(step.conditioning.controlnet_inputs)
    control = control_net.embed(step.control(control_net.model), ROWS)

    def forward() -> Any:
        return control_net.forward(step.x, step.t.expand(ROWS), inputs, control)

    kept = forward()
    kept.select_rows(torch.tensor([False, True]))
    for (index, whole), (same, row) in zip(forward(), kept, strict=True):
        assert index == same
        torch.testing.assert_close(row, whole[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", [0, 7])
@torch.inference_mode()
def test_a_row_of_a_union_has_the_same_bits_whatever_the_other_rows_are(transformer: Any, mode: int) -> None:
    # Given two jobs in one forward, of which the second changes
    step, union = Step(transformer), controlnet(transformer, "union")
    control = step.control(union.model)

    def computed(scale: float) -> dict[int, Tensor]:
        def changed(rows: Tensor) -> Tensor:
            return torch.cat([rows[:1], rows[1:] * scale])

        inputs = step.conditioning.controlnet_inputs
        texts = {name: changed(inputs[name]) for name in ("embeddings", "pooled", "guidance")}
        prepared = union.prepare({**inputs, **texts})
        t = torch.stack([step.t, step.t * scale])
        return dict(union.forward(changed(step.x), t, prepared, union.embed(changed(control), ROWS), mode))

    one, another = computed(1.0), computed(0.5)
    assert one.keys() == another.keys() == set(union.order)
    for index in one:
        assert torch.equal(one[index][0], another[index][0])
        assert not torch.equal(one[index][1], another[index][1])


def controlnet(transformer: Any, kind: Any = "5/10", **options: Any) -> FluxControlNet:
    model = make_flux_controlnet(kind, **options).to(transformer.dtype)
    return FluxControlNet("net", model, FLUX, transformer.config)


def test_a_control_mode_is_checked_by_name(transformer: Any) -> None:
    step = Step(transformer)
    plain, union = controlnet(transformer), controlnet(transformer, "union")
    for control_net, mode, why in (
        (plain, 1, "no union"),
        (union, None, "needs a control_mode"),
        (union, 10, "below 10"),
    ):
        prepared = control_net.prepare(step.conditioning.controlnet_inputs)
        with pytest.raises(ControlNetFailed, match=f"'net'.*{why}"):
            control_net.forward(step.x, step.t.expand(ROWS), prepared, step.x, mode)


def test_a_controlnet_of_which_nothing_is_read_is_refused(transformer: Any) -> None:
    with pytest.raises(ModelFailed, match="no block whose residual"):
        controlnet(transformer, "6/0", num_layers=0)


def test_a_plan_of_another_depth_is_refused(transformer: Any) -> None:
    step = Step(transformer)
    with pytest.raises(ControlNetFailed, match="none for this model"):
        next(staged_forward(transformer, step.x, step.t, step.conditioning, ControlPlan((0, 1))))
