"""A ControlNet of the UNet families."""

from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, ModelMixin

from tests.tiny_models import make_controlnet, make_pipeline, make_unet
from workers.families.unet.controlnet import UNetControlNet
from workers.families.unet.loading import unet_model


class NotWalked(ControlNetModel):  # type: ignore[misc]
    """Diffusers looks through all modules for its device and its dtype: two milliseconds each at SD 1.5."""

    @property
    def device(self) -> torch.device:
        raise AssertionError("asked for its device")

    @property
    def dtype(self) -> torch.dtype:
        raise AssertionError("asked for its dtype")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_step_looks_through_all_modules_for_device_and_dtype(dtype: torch.dtype) -> None:
    model = make_controlnet(make_unet()).to(dtype)
    model.__class__ = NotWalked
    controlnet = UNetControlNet("edge", model)
    prepared = controlnet.prepare({"embeddings": torch.zeros(2, 7, 128)})
    control = controlnet.embed(torch.zeros(1, 3, 64, 64), 2)
    x, t = torch.zeros(2, 4, *control.shape[-2:]), torch.full((2,), 501.0)
    residuals = dict(controlnet.forward(x, t, prepared, control))
    assert {residual.dtype for residual in residuals.values()} == {dtype}
    assert len(residuals) == len(controlnet.order)


def test_device_and_dtype_are_those_that_diffusers_finds() -> None:
    pipe: Any = make_pipeline("sd1").to(torch.bfloat16)
    controlnet = make_controlnet(pipe.unet).to(torch.bfloat16)
    for model, found in (
        (pipe.unet, unet_model("sd1", pipe)),
        (controlnet, UNetControlNet("edge", controlnet)),
    ):
        assert isinstance(model, ModelMixin)
        assert (found.device, found.dtype) == (model.device, model.dtype)
