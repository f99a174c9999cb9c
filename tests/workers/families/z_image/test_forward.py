"""The staged forward of Z-Image and its ControlNets, judged by diffusers' own forwards."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import ZImageControlNetModel
from torch import Tensor

from infra.tiny_models.vaes import CHANNELS
from infra.tiny_models.z_image import TEXT_WIDTH, make_z_image, make_z_image_controlnet
from shared.errors import ControlNetFailed
from shared.families.controlnets import ControlPlan
from shared.families.z_image import Z_IMAGE
from workers.families.staged_forward import run_to_end
from workers.families.z_image.conditioning import ZImageConditioning
from workers.families.z_image.controlnet import ZImageControlNet
from workers.families.z_image.forward import staged_forward

DTYPES = (torch.float32, torch.bfloat16)
KINDS = ("1.0", "2.0", "2.1")
#: Tokens of the captions: of one length, and of two, which are padded to one.
LENGTHS = ((7, 7), (5, 40))
SCALE, STEP_T = 0.7, 731.0


def noise(*shape: int, seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def make_model(kind: Any, transformer: Any) -> Any:
    """A ControlNet of diffusers, which has layers of the base model."""
    model = make_z_image_controlnet(kind).to(transformer.dtype)
    return ZImageControlNetModel.from_transformer(model, transformer)


def make_captions(lengths: Sequence[int], dtype: torch.dtype) -> list[Tensor]:
    return [noise(length, TEXT_WIDTH, seed=length + i, dtype=dtype) for i, length in enumerate(lengths)]


class Step:
    """What one step of two rows is given, of an image of 12 x 8 latents: its tokens are filled up."""

    def __init__(
        self, dtype: torch.dtype, lengths: Sequence[int] = LENGTHS[1], channels: int = CHANNELS
    ) -> None:
        self.captions = make_captions(lengths, dtype)
        self.x = noise(2, CHANNELS, 8, 12, seed=1, dtype=dtype)
        self.control = noise(2, channels, 8, 12, seed=2, dtype=dtype)
        self.time = (1000 - torch.tensor([STEP_T] * 2)) / 1000

    def of_diffusers(self, transformer: Any, residuals: Any = None) -> Tensor:
        rows = list(self.x.unsqueeze(2).unbind())
        given = {"controlnet_block_samples": residuals, "return_dict": False}
        return torch.stack(transformer(rows, self.time, self.captions, **given)[0]).squeeze(2)

    def residuals_of_diffusers(self, controlnet: Any, scale: float = SCALE) -> dict[int, Tensor]:
        rows, control = list(self.x.unsqueeze(2).unbind()), self.control.unsqueeze(2)
        return controlnet(rows, self.time, self.captions, control, conditioning_scale=scale)

    def residuals(self, controlnet: ZImageControlNet, scale: float = SCALE) -> dict[int, Tensor]:
        prepared = controlnet.prepare(ZImageConditioning(self.captions).controlnet_inputs)
        control, t = controlnet.embed(self.control, 2), torch.tensor([STEP_T] * 2)
        forward = controlnet.at_scale(scale).forward(self.x, t, prepared, control)
        return {i: controlnet.scale(hint, i, scale, guess_mode=False) for i, hint in forward}


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def transformer(request: pytest.FixtureRequest) -> Any:
    return make_z_image().transformer.to(request.param)


@pytest.mark.parametrize("lengths", LENGTHS)
@torch.inference_mode()
def test_a_forward_without_controlnets_is_diffusers_own(transformer: Any, lengths: tuple[int, int]) -> None:
    step = Step(transformer.dtype, lengths)
    forward = staged_forward(transformer, step.x, step.time, step.captions, None)
    assert torch.equal(run_to_end(forward, next(forward), None), step.of_diffusers(transformer))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", LENGTHS)
@torch.inference_mode()
def test_residuals_and_what_becomes_of_them_are_diffusers_own(
    transformer: Any, kind: str, lengths: tuple[int, int]
) -> None:
    model = make_model(kind, transformer)
    step = Step(transformer.dtype, lengths, model.config.control_in_dim)
    theirs = step.residuals_of_diffusers(model)
    ours = step.residuals(ZImageControlNet("net", model, Z_IMAGE, transformer.config))
    for index, place in enumerate(model.config.control_layers_places):
        assert torch.equal(ours[index], theirs[place]), f"residual {index}"
    plan = Z_IMAGE.control_plan(model.config, transformer.config)
    forward = staged_forward(transformer, step.x, step.time, step.captions, plan)
    predicted = run_to_end(forward, next(forward), ours.__getitem__)
    assert torch.equal(predicted, step.of_diffusers(transformer, theirs))
    assert not torch.equal(predicted, step.of_diffusers(transformer))


@torch.inference_mode()
def test_the_context_refiner_runs_once_a_prompt(transformer: Any) -> None:
    controlnet = ZImageControlNet("net", make_model("2.1", transformer), Z_IMAGE, transformer.config)
    step = Step(transformer.dtype, channels=9)
    prepared = controlnet.prepare(ZImageConditioning(step.captions).controlnet_inputs)
    hook = transformer.context_refiner[0].register_forward_pre_hook(lambda *_: pytest.fail("it ran again"))
    try:
        t = torch.tensor([STEP_T] * 2)
        assert list(controlnet.forward(step.x, t, prepared, controlnet.embed(step.control, 2)))
    finally:
        hook.remove()


@torch.inference_mode()
def test_channels_of_a_mask_are_zeros_where_a_job_has_none(transformer: Any) -> None:
    controlnet = ZImageControlNet("net", make_model("2.1", transformer), Z_IMAGE, transformer.config)
    control = noise(2, CHANNELS, 8, 12, seed=2, dtype=transformer.dtype)
    padded = torch.cat([control, torch.zeros(2, 5, 8, 12, dtype=transformer.dtype)], dim=1)
    assert torch.equal(controlnet.embed(control, 2), controlnet.embed(padded, 2))


@torch.inference_mode()
def test_a_mask_for_a_controlnet_that_was_not_trained_for_one_is_refused(transformer: Any) -> None:
    controlnet = ZImageControlNet("pose", make_model("1.0", transformer), Z_IMAGE, transformer.config)
    with pytest.raises(ControlNetFailed, match="'pose' was not trained to inpaint"):
        controlnet.embed(noise(2, 9, 8, 12, seed=2, dtype=transformer.dtype), 2)


@torch.inference_mode()
def test_a_control_image_of_another_size_is_refused(transformer: Any) -> None:
    controlnet = ZImageControlNet("pose", make_model("1.0", transformer), Z_IMAGE, transformer.config)
    step = Step(transformer.dtype)
    step.control = noise(2, CHANNELS, 16, 16, seed=2, dtype=transformer.dtype)
    with pytest.raises(ControlNetFailed, match="'pose': its image and the latents differ in size"):
        step.residuals(controlnet)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_beside_a_base_model_a_controlnet_computes_with_its_layers(transformer: Any, kind: str) -> None:
    # Given a ControlNet that was loaded with layers of one base model
    model = make_model(kind, transformer)
    loaded = ZImageControlNet("net", model, Z_IMAGE, transformer.config)
    step = Step(transformer.dtype, channels=model.config.control_in_dim)
    own = step.residuals(loaded)
    # When it computes beside another
    other = make_z_image(seed=5).transformer.to(transformer.dtype)
    bound = loaded.with_base({"transformer": other})
    # Then its residuals are those that diffusers computes beside that one
    theirs = step.residuals_of_diffusers(make_model(kind, other))
    for index, residual in step.residuals(bound).items():
        assert torch.equal(residual, theirs[model.config.control_layers_places[index]])
        assert not torch.equal(residual, own[index])
    # And the loaded one is as it was
    assert all(torch.equal(residual, own[index]) for index, residual in step.residuals(loaded).items())
    assert bound.sha256 == loaded.sha256


def test_a_plan_for_another_model_is_refused(transformer: Any) -> None:
    step = Step(transformer.dtype)
    forward = staged_forward(transformer, step.x, step.time, step.captions, ControlPlan((0, None)))
    with pytest.raises(ControlNetFailed):
        next(forward)


def test_beside_a_base_model_of_another_type_of_numbers_it_is_refused(transformer: Any) -> None:
    controlnet = ZImageControlNet("pose", make_model("1.0", transformer), Z_IMAGE, transformer.config)
    other = make_z_image().transformer.to(torch.float64)
    with pytest.raises(ControlNetFailed, match="'pose' is loaded as"):
        controlnet.with_base({"transformer": other})
