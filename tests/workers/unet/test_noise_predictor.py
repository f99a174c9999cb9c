"""The order of a step: what is submitted to the device, what is waited for, what is sent."""

from collections.abc import Generator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from shared.families.controlnets import ControlPlan
from shared.keys import LOCAL
from tests.fake_device import FakeDevice
from tests.workers.unet.specs import spec
from workers.devices.base import Device, HostCopy
from workers.devices.selection import find_device
from workers.families.base import BaseModel
from workers.families.guidance import NO_GUIDANCE, CFGBranch
from workers.families.unet.conditioning import UNetConditioning
from workers.unet.attempt_context import AttemptContext
from workers.unet.controlnet.client import ControlNetClient
from workers.unet.noise_predictor import NoisePredictor
from workers.unet.timeline import Timeline
from workers.unet.timesteps.schedule import Timestep
from workers.unet.worker import UNetWorker

X = torch.arange(4.0).reshape(1, 1, 2, 2)


class LoggedModel:
    """A model that logs when its stages are submitted."""

    stages = ("encoder", "decoder")
    engines = SimpleNamespace(select=lambda eager_bits: None)

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def guidance(self, spec: object) -> Any:
        return NO_GUIDANCE

    def controlnet_branch(self, branch: CFGBranch, *, guess_mode: bool) -> CFGBranch:
        return branch

    def controlnet_latents(self, x: Tensor) -> Tensor:
        return x

    def staged_forward(
        self, x: Tensor, t: Tensor, conditioning: Any, engine: Any, plan: ControlPlan | None
    ) -> Generator[int, Tensor | None, Tensor]:
        self._log.append("encoder" if plan is None else "guided encoder")
        residual = yield 0
        self._log.append("decoder")
        return x if residual is None else x + residual


class LoggedControlNets:
    """A ControlNet that guides the first step of two, and logs what it is sent."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self.sent: list[Tensor] = []

    def calls(self, step: int, total: int) -> list[str]:
        return ["edge"] if step == 0 else []

    def plan(self, calls: list[str]) -> ControlPlan | None:
        return ControlPlan((0,)) if calls else None

    def publish_inputs(self, inputs: Mapping[str, Tensor], copies: Mapping[str, Tensor]) -> None:
        self._log.append("publish")
        self.sent.extend(copies.values())

    def request_step(self, calls: list[str], step: int, t: float, x: Tensor, copy: HostCopy) -> Any:
        self._log.append("send")
        self.sent.append(copy.wait().clone())
        return SimpleNamespace(get=lambda index: x, finish=lambda: None)


def predict(device: Device, log: list[str], step: int) -> tuple[LoggedControlNets, Tensor]:
    """Predict one step of two; its order is in ``log``."""
    context = AttemptContext(
        worker=cast("UNetWorker", SimpleNamespace(device=device)),
        model=cast("BaseModel", LoggedModel(log)),
        spec=spec(),
        job_id="job",
        attempt="attempt",
        ordinal=1,
        role="leader",
        timeline=Timeline("unet1@test"),
        check=lambda: None,
        tenant=LOCAL,
    )
    controlnets = LoggedControlNets(log)
    predictor = NoisePredictor(context, cast("ControlNetClient", controlnets), CFGBranch.BOTH)
    predictor.use(UNetConditioning(torch.ones(1, 2, 3)))
    context.deferred.add(lambda: log.append("deferred"))
    message = device.to_host(X).then(lambda copy: log.append("message"))
    t = Timestep(501.0, torch.tensor(501.0))
    return controlnets, predictor.predict(X, step, 2, t, messages=[message])


def order(log: list[str]) -> list[str]:
    """Without the events that only measure."""
    return [entry.rstrip(" 0123456789") for entry in log if "record" not in entry and "follows" not in entry]


def test_a_gpu_has_the_encoder_before_the_loop_waits_and_sends() -> None:
    device = FakeDevice()
    controlnets, prediction = predict(device, device.log, 0)
    first_wait = order(device.log).index("wait")
    assert order(device.log)[:first_wait] == ["to host by", "to host by", "to host by", "guided encoder"]
    after = [entry for entry in order(device.log)[first_wait:] if entry != "wait"]
    assert after == ["message", "publish", "send", "deferred", "decoder"]
    # What is sent are the numbers, though copies hold NaN until they are waited for
    assert torch.equal(controlnets.sent[-1], X)
    assert not any(tensor.isnan().any() for tensor in controlnets.sent)
    assert torch.equal(prediction, 2 * X)


def test_a_cpu_sends_before_it_computes() -> None:
    log: list[str] = []
    controlnets, prediction = predict(find_device("cpu"), log, 0)
    assert log == ["message", "publish", "send", "deferred", "guided encoder", "decoder"]
    assert torch.equal(controlnets.sent[-1], X)
    assert torch.equal(prediction, 2 * X)


def test_a_step_that_no_controlnet_guides_copies_nothing() -> None:
    device = FakeDevice()
    controlnets, prediction = predict(device, device.log, 1)
    # Given a message of the caller's, which copies, nothing else does
    assert order(device.log) == [
        "to host by",
        "deferred",
        "encoder",
        "wait",
        "message",
        "decoder",
    ]  # only its
    assert controlnets.sent == []
    assert torch.equal(prediction, X)
