"""Steps of several jobs share a forward pass of Flux's union ControlNet, if their ``control_mode`` is one."""

from typing import Any, NamedTuple

import pytest
import torch
from redis import Redis
from torch import Tensor

from shared.families.flux import FLUX
from shared.settings import Settings
from tests.tiny_transformers import make_flux, make_flux_controlnet
from tests.workers.running import running
from tests.workers.transport.transport_ends import received_by
from tests.workers.unet.controlnet_jobs import Line, ask, make_controlnets, make_line, make_server, spec
from workers.families.flux.conditioning import FluxConditioning
from workers.families.flux.controlnet import FluxControlNet
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.transport.protocol import StepRequest

HEIGHT, WIDTH, TEXT = 3, 4, 5


class UnionStep(NamedTuple):
    """What a step of one row is given."""

    mode: int
    t: float
    scale: float
    x: Tensor
    control: Tensor
    conditioning: FluxConditioning

    @classmethod
    def of(cls, config: Any, mode: int, seed: int) -> "UnionStep":
        generator = torch.Generator().manual_seed(seed)

        def numbers(*shape: int) -> Tensor:
            return torch.randn(1, *shape, generator=generator)

        tokens = HEIGHT * WIDTH, config.in_channels
        positions = torch.zeros(1, HEIGHT, WIDTH, 3)
        positions[..., 1] += torch.arange(HEIGHT)[:, None]
        positions[..., 2] += torch.arange(WIDTH)[None, :]
        conditioning = FluxConditioning(
            embeddings=numbers(TEXT, config.joint_attention_dim),
            pooled=numbers(config.pooled_projection_dim),
            guidance=torch.full((1,), 2.0 + seed),
            positions=positions,
        )
        return cls(mode, 100.0 + seed, 0.3 * seed, numbers(*tokens), numbers(*tokens), conditioning)

    def ask(self, line: Line) -> StepRequest:
        """Send it as a step of a job of its own."""
        changes = {"control_mode": self.mode, "conditioning_scale": self.scale}
        client = make_controlnets(line, spec("union", **changes), alone=False, facts=FLUX)
        inputs = self.conditioning.controlnet_inputs
        client.publish_images([self.control])
        client.publish_inputs(inputs, inputs)
        return ask(client, x=self.x, t=self.t).request

    def residuals(self, union: FluxControlNet) -> dict[int, Tensor]:
        """By index, computed alone."""
        prepared, control = union.prepare(self.conditioning.controlnet_inputs), union.embed(self.control, 1)
        forward = union.forward(self.x, torch.tensor([self.t]), prepared, control, self.mode)
        return {index: union.scale(one, index, self.scale, guess_mode=False) for index, one in forward}


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    """To servers for which no forward pass is too slow."""
    residual.flushall()
    return make_line(residual, servers.model_copy(update={"controlnet_batch_delay": 1e9}))


@torch.inference_mode()
def test_jobs_of_one_control_mode_share_a_forward_pass_and_keep_their_residuals(line: Line) -> None:
    config = make_flux().transformer.config
    union = FluxControlNet("union", make_flux_controlnet("union"), FLUX, config)
    cache: Any = ModelCache(lambda name: union, DeviceMemory(1 << 30), lambda name: 1)
    server = make_server(line, "union", controlnets=cache)

    def serve_once() -> int:
        with running(server.sender):
            return server.serve_next(["union"])

    UnionStep.of(config, mode=2, seed=9).ask(line)
    assert serve_once() == 1  # measured alone
    # Given three jobs, of which one has another control_mode
    steps = [UnionStep.of(config, mode, seed) for seed, mode in enumerate((2, 4, 2), 1)]
    requests = [step.ask(line) for step in steps]
    assert [serve_once(), serve_once()] == [2, 1]
    # Then each job gets its own residuals, up to the rounding of float sums
    for step, request, batch in zip(steps, requests, (2, 1, 2), strict=True):
        expected = step.residuals(union)
        answers = received_by(line.transport, request, 1.0)
        received = {response.index: (response, residual) for response, residual in answers}
        assert received.keys() == expected.keys()
        for index, (response, residual) in received.items():
            assert response.batch == batch
            assert residual is not None
            assert (residual - expected[index]).abs().max() <= 1e-5 * expected[index].abs().max()
