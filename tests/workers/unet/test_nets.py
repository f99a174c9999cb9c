"""Nets and Server over a real residual Redis: both ends of the way, in one process."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import MultiControlNetModel
from redis import Redis
from torch import Tensor

from shared.errors import JobCancelled, NetFailed, ResidualTimeout
from shared.messages import Attach
from shared.settings import Settings
from shared.specs import ControlSpec
from tests.tiny_models import make_net, make_unet
from workers.controlnet.nets import Net
from workers.controlnet.serve import Server
from workers.resident import Residents
from workers.residuals.messages import MID
from workers.residuals.transport import Transport
from workers.unet.nets import Nets
from workers.unet.timeline import Timeline

UNET = make_unet()
MODELS = {"edge": make_net(UNET, 1), "depth": make_net(UNET, 2)}
JOBS = itertools.count()


@pytest.fixture
def transport(residual: Redis, servers: Settings) -> Transport:
    residual.flushall()
    return Transport(residual, servers)


@pytest.fixture
def server(transport: Transport) -> Iterator[Server]:
    nets = Residents(lambda name: Net(name, MODELS[name]), 1 << 30)
    server = Server(list(MODELS), nets, transport)
    server.start("controlnet1@test")
    yield server
    server.stop()


def spec(name: str, **changes: Any) -> ControlSpec:
    values = {
        "name": name,
        "image": name,
        "conditioning_scale": 1.0,
        "guidance_start": 0.0,
        "guidance_end": 1.0,
        "preprocessor": "none",
    }
    return ControlSpec.model_validate(values | changes)


def make_nets(
    transport: Transport, servers: Settings, *specs: ControlSpec, ordinal: int = 1, **changes: Any
) -> Nets:
    nets = Nets(
        list(specs),
        job_id=f"job{next(JOBS)}",
        attempt="attempt",
        ordinal=ordinal,
        transport=transport,
        settings=servers.model_copy(update={"residual_wait_s": 5.0, "residual_sends": 2, **changes}),
        timeline=Timeline("unet1@test"),
        check=lambda: None,
    )
    images = [
        torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i, _ in enumerate(specs)
    ]
    nets.attach(images, 2, lambda message: None)
    nets.use_inputs({"embeddings": EMBEDDINGS})
    return nets


EMBEDDINGS = torch.randn(2, 32, 128, generator=torch.Generator().manual_seed(8))
X = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(9))


def by_diffusers(*scales: float) -> tuple[list[Tensor], Tensor]:
    images = [
        torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i, _ in enumerate(scales)
    ]
    with torch.inference_mode():
        down, mid = MultiControlNetModel(list(MODELS.values())[: len(scales)])(
            X,
            torch.tensor(501),
            encoder_hidden_states=EMBEDDINGS,
            controlnet_cond=[torch.cat([image] * 2) for image in images],
            conditioning_scale=list(scales),
            return_dict=False,
        )
    return down, mid


def test_residuals_of_two_nets_are_summed_as_diffusers_sums_them(
    server: Server, transport: Transport, servers: Settings
) -> None:
    nets = make_nets(
        transport, servers, spec("edge", conditioning_scale=0.8), spec("depth", conditioning_scale=0.5)
    )
    step = nets.ask(X, 0, 4, 501.0)
    assert step is not None
    down, mid = by_diffusers(0.8, 0.5)
    assert torch.equal(step.mid(), mid)
    for index in reversed(range(len(down))):
        assert torch.equal(step.down(index), down[index])
    step.finish()
    assert {"net edge", "net depth"} <= {span.name for span in nets.timeline.spans}
    assert set(nets.hashes) == {"edge", "depth"}


def test_a_net_is_asked_only_between_its_start_and_end(transport: Transport, servers: Settings) -> None:
    nets = make_nets(transport, servers, spec("edge", guidance_start=0.25, guidance_end=0.75))
    asked = [nets.ask(X, i, 4, 501.0) is not None for i in range(4)]
    assert asked == [False, True, True, False]


def test_steps_of_a_finished_job_are_not_computed(transport: Transport, servers: Settings) -> None:
    nets = make_nets(transport, servers, spec("edge"))
    nets.ask(X, 0, 4, 501.0)
    nets.close()
    taken = transport.next_step(["edge"])
    assert taken is not None
    assert not transport.is_current(taken[0])


def test_an_attempt_that_lost_its_job_cannot_take_the_turn_from_its_successor(
    transport: Transport, servers: Settings
) -> None:
    # Given a second attempt that asks for a step
    second = make_nets(transport, servers, spec("edge"), ordinal=2)
    second.ask(X, 0, 4, 501.0)
    # When the first one wakes up, asks and closes
    first = make_nets(transport, servers, spec("edge"), ordinal=1)
    first._job_id = second._job_id
    first.ask(X, 7, 8, 101.0)
    first.close()
    # Then only the second one's step is computed
    turns = [transport.next_step(["edge"]), transport.next_step(["edge"])]
    assert [taken and transport.is_current(taken[0]) for taken in turns] == [True, False]


def test_a_step_that_was_asked_for_again_voids_the_older_request(
    transport: Transport, servers: Settings
) -> None:
    nets = make_nets(transport, servers, spec("edge"))
    nets.ask(X, 0, 4, 501.0)
    nets.ask(X, 1, 4, 481.0)
    old, new = transport.next_step(["edge"]), transport.next_step(["edge"])
    assert old is not None
    assert new is not None
    assert [transport.is_current(old[0]), transport.is_current(new[0])] == [False, True]


def test_inputs_that_the_server_lost_are_laid_down_again(
    server: Server, transport: Transport, servers: Settings, residual: Redis
) -> None:
    nets = make_nets(transport, servers, spec("edge"))
    residual.flushall()
    step = nets.ask(X, 0, 4, 501.0)
    assert step is not None
    assert torch.equal(step.mid(), by_diffusers(1.0)[1])


def test_a_worker_that_died_with_the_request_costs_one_wait(transport: Transport, servers: Settings) -> None:
    nets = make_nets(transport, servers, spec("edge"), residual_wait_s=0.3)
    step = nets.ask(X, 0, 4, 501.0)
    assert step is not None
    assert transport.next_step(["edge"]) is not None  # a worker took it, and died
    loaded = Residents(lambda name: Net(name, MODELS[name]), 1 << 30)
    other = Server(["edge"], loaded, transport)
    other.start("controlnet2@test")
    assert torch.equal(step.mid(), by_diffusers(1.0)[1])
    other.stop()


def test_without_any_worker_the_attempt_ends_with_a_reason(transport: Transport, servers: Settings) -> None:
    nets = make_nets(transport, servers, spec("nobody"), residual_wait_s=0.05)
    step = nets.ask(X, 3, 4, 501.0)
    assert step is not None
    with pytest.raises(ResidualTimeout, match=r"'nobody'.*step 3"):
        step.mid()


def test_a_step_that_cannot_be_computed_fails_with_the_workers_reason(
    server: Server, transport: Transport, servers: Settings
) -> None:
    nets = make_nets(transport, servers, spec("edge"))
    step = nets.ask(X[:, :3], 0, 4, 501.0)
    assert step is not None
    with pytest.raises(NetFailed, match=r"controlnet1@test.*channels"):
        step.mid()
    # And the worker goes on with the next.
    good = nets.ask(X, 1, 4, 501.0)
    assert good is not None
    assert torch.equal(good.mid(), by_diffusers(1.0)[1])


def test_a_cancelled_job_does_not_wait_for_its_residuals(transport: Transport, servers: Settings) -> None:
    nets = make_nets(transport, servers, spec("nobody"))

    def cancelled() -> None:
        raise JobCancelled("the job was cancelled")

    nets.check = cancelled
    step = nets.ask(X, 0, 4, 501.0)
    assert step is not None
    with pytest.raises(JobCancelled):
        step.mid()


def test_steps_of_many_jobs_are_served_at_once(
    server: Server, transport: Transport, servers: Settings
) -> None:
    mid = by_diffusers(1.0)[1]
    equal: list[bool] = []

    def work() -> None:
        nets = make_nets(transport, servers, spec("edge"))
        for i in range(3):
            step = nets.ask(X, i, 3, 501.0)
            assert step is not None
            equal.append(torch.equal(step.mid(), mid))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert equal == [True] * 12
    assert len(server.doing()) >= 4


def test_an_attachment_embeds_the_control_image_before_the_first_step(
    server: Server, transport: Transport
) -> None:
    key = transport.put_input(torch.rand(1, 3, 64, 64))
    server.attach(Attach(job_id="j", attempt="a", net="depth", image=key, batch=2))
    calls = server._inputs.get(("depth", Net("depth", MODELS["depth"]).sha256, key, 2), pytest.fail)
    assert calls.shape == (2, 32, 16, 16)


def test_every_key_of_a_step_expires(
    server: Server, transport: Transport, servers: Settings, residual: Redis
) -> None:
    residual.flushall()
    nets = make_nets(transport, servers, spec("edge"))
    step = nets.ask(X, 0, 4, 501.0)
    assert step is not None
    step.mid()
    left = list(residual.scan_iter("*"))
    assert left
    assert [key for key in left if residual.pttl(key) < 0 and residual.exists(key)] == []
    assert MID not in step._got[0]
