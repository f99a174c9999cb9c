"""The requester computes what it holds and nobody else has claimed: same bits, and nothing is sent."""

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from redis import Redis
from torch import Tensor

from infra.bench.harness.ports import free_ports
from shared.errors import AttemptLost
from shared.jobs.options import LoraLoading, Precision
from shared.redis_clients import residual_servers, without_retries
from shared.settings import Settings
from tests.fake_device import FakeDevice
from tests.workers.running import running, serving
from tests.workers.unet.controlnet_jobs import (
    MID,
    MODELS,
    ControlNetJob,
    Line,
    X,
    ask,
    by_diffusers,
    claim_next,
    compute,
    exact_steps,
    make_job,
    make_line,
    make_loaded_job,
    make_server,
    results,
    spec,
)
from tests.workers.unet.jobs import control, pixels, run
from tests.workers.unet.specs import spec as job_spec
from workers.controlnet_serving.server import ControlNetServer
from workers.families.unet.controlnet import UNetControlNet
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.transport.keys import responses_key
from workers.transport.protocol import ControlNetCall
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport
from workers.unet.controlnet.claims.requester_claims import LOOK_PAUSES_S
from workers.unet.controlnet.step_residuals import StepResiduals
from workers.unet.worker import UNetWorker

NAMES = ("edge", "depth", "colour")
SCALES = (0.8, 0.5, 0.3)
#: Who computes which ControlNet of a job: its requester, or worker a or b.
SPLITS = [
    split
    for count in (1, 2, 3)
    for split in itertools.product(("requester", "a", "b"), repeat=count)
    if "b" not in split or "a" in split[: split.index("b")]
]


SERVERS: list[ControlNetServer] = []


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Iterator[Line]:
    residual.flushall()
    yield make_line(residual, servers)
    SERVERS.clear()


def make_holder(line: Line, count: int, **options: Any) -> ControlNetJob:
    """A job of so many ControlNets whose worker has loaded them all."""
    specs = [spec(name, conditioning_scale=scale) for name, scale in zip(NAMES, SCALES, strict=True)]
    return make_loaded_job(line, *specs[:count], residual_timeout_s=60.0, **options)


def serve(line: Line, names: Collection[str]) -> None:
    """Have another worker compute what waits for these ControlNets, which it holds."""
    server = make_server(line, *names)
    SERVERS.append(server)  # what it has sent lies in its memory
    while waiting := [name for name in names if line.redis.llen(exact_steps(line, name))]:
        queued = server.steps.pop(waiting)
        assert queued is not None
        if (claimed := server.steps.claim(queued)) is not None:
            compute(server, [claimed])


def take(step: StepResiduals, count: int) -> list[Tensor]:
    """All residuals of a step, in the order of a decoder."""
    down = len(expected(count)) - 1
    found = [step.get(MID), *(step.get(index) for index in reversed(range(down)))]
    step.finish()
    return found


@functools.cache
def expected(count: int) -> list[Tensor]:
    down, mid = by_diffusers(*SCALES[:count])
    return [mid, *reversed(down)]


def compute_split(line: Line, split: tuple[str, ...], **options: Any) -> list[Tensor]:
    """The residuals of a job whose ControlNets are computed by whom ``split`` names."""
    job = make_holder(line, len(split), **options)
    step = ask(job.client)
    for worker in ("a", "b"):
        serve(line, [name for name, by in zip(NAMES, split, strict=False) if by == worker])
    before = [results(name, "requester") for name in NAMES]
    found = take(step, len(split))
    own = [results(name, "requester") - old for name, old in zip(NAMES, before, strict=True)]
    assert own[: len(split)] == [float(by == "requester") for by in split]
    assert set(job.client.used) == set(range(len(split)))
    workers = {span.name: span.worker for span in job.context.timeline.spans}
    for name, by in zip(NAMES, split, strict=False):
        assert by != "requester" or workers[f"controlnet {name}"] == "unet1@test"
    job.client.close()
    assert job.worker.controlnets.memory.models.evict_idle() == len(split)  # none is in use any more
    return found


@pytest.mark.parametrize("split", SPLITS, ids="-".join)
def test_sums_are_diffusers_own_whoever_claims_which_part(split: tuple[str, ...], line: Line) -> None:
    found = compute_split(line, split)
    assert all(map(torch.equal, found, expected(len(split))))
    # And nothing is left for others to do
    assert not any(line.redis.llen(exact_steps(line, name)) for name in NAMES)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_what_the_requester_computes_has_the_loss_of_the_codec(precision: Precision, line: Line) -> None:
    served = compute_split(line, ("a", "a"), precision=precision)
    assert not any(map(torch.equal, served, expected(2)))
    for split in (("requester", "requester"), ("requester", "a"), ("a", "requester")):
        assert all(map(torch.equal, compute_split(line, split, precision=precision), served))


@contextmanager
def counted_commands(redis: Redis) -> Iterator[Counter[str]]:
    """The commands that clients, or scripts of theirs, give the server within the block."""
    counts: Counter[str] = Counter()
    redis.config_resetstat()
    yield counts
    stats: Any = redis.info("commandstats")
    counts.update({name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()})


def test_what_the_requester_computes_costs_one_call_each_and_is_not_sent(line: Line) -> None:
    job = make_holder(line, 2)
    step = ask(job.client)
    line.steps.claim_unclaimed(step.request, [])  # the server knows the script
    with counted_commands(line.redis) as counts:
        take(step, 2)
    # Then it has claimed both parts, one by one, has looked for nothing and received nothing
    assert (counts["evalsha"], counts["hmget"], counts["blmpop"]) == (2, 0, 0)
    assert not line.redis.exists(responses_key(step.request))


def test_a_step_costs_no_call_while_no_other_worker_could_serve_it(line: Line) -> None:
    # Given a job whose worker holds both of its ControlNets
    job = make_holder(line, 2)
    take(ask(job.client), 2)  # the server knows the scripts
    calls = []
    for number, served in enumerate((None, [], ["edge"]), 1):
        # When any other worker could serve, none, or one of the two
        job.worker.other_workers.served = served
        with counted_commands(line.redis) as counts:
            assert all(map(torch.equal, take(ask(job.client, number), 2), expected(2)))
        calls.append((counts["evalsha"], counts["rpush"]))
    # Then a step is sent and claimed back, nothing is said at all, or only that one is sent and claimed back
    assert calls == [(3, 2), (0, 0), (2, 1)]


class Meanwhile(UNetControlNet):
    """``meanwhile`` runs while it is computed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, MODELS[name])
        self.meanwhile: Callable[[], object] = lambda: None

    def features(self, *args: Any) -> list[Tensor]:
        self.meanwhile()
        return super().features(*args)


def test_a_helper_and_the_requester_take_parts_by_turns_each_from_its_own_end(line: Line) -> None:
    # Given a requester that holds three ControlNets, and a free helper that holds them, too
    loaded = {name: Meanwhile(name) for name in NAMES}
    controlnets = ModelCache(lambda name: loaded[name], DeviceMemory(1 << 30), lambda name: 1)
    job = make_holder(line, 3, controlnets=controlnets)
    server = make_server(line, *NAMES)
    step = ask(job.client)
    with running(server.sender):
        # When the helper computes one while the encoder runs, and another while the requester computes
        assert server.serve_next(NAMES[:1]) == 1
        loaded["colour"].meanwhile = lambda: server.serve_next(NAMES[1:2])
        before = [results(name, "requester") for name in NAMES]
        found = take(step, 3)
    # Then the requester has computed only the last one
    assert [results(name, "requester") - old for name, old in zip(NAMES, before, strict=True)] == [0, 0, 1]
    assert all(map(torch.equal, found, expected(3)))


def test_a_helper_sums_parts_that_the_requester_does_not_hold_and_only_those(line: Line) -> None:
    job = make_holder(line, 3)
    job.worker.served_controlnets = ["colour"]
    step = ask(job.client)
    server = make_server(line, *NAMES)
    with running(server.sender):
        assert server.serve_next(["edge"]) == 1
    # Then the helper has computed the second along with the first, and left the third to the requester
    assert line.steps.find_unclaimed(step.request, step.request.parts) == step.request.parts[2:]
    assert all(map(torch.equal, take(step, 3), expected(3)))


def test_what_only_others_hold_is_sent_though_none_could_serve_it_now(line: Line) -> None:
    job = make_holder(line, 2)
    job.worker.other_workers.served = []
    job.worker.controlnets.discard("depth")
    job.worker.served_controlnets = ["edge"]
    step = ask(job.client)
    serve(line, ["edge", "depth"])
    before = [results(name, "local") for name in NAMES[:2]]
    assert all(map(torch.equal, take(step, 2), expected(2)))
    assert [results(name, "local") - old for name, old in zip(NAMES, before, strict=False)] == [1, 0]


def test_a_requester_that_holds_nothing_asks_for_no_claim(line: Line) -> None:
    job = make_job(line, spec("edge"), local=True, residual_timeout_s=60.0)
    step = ask(job.client)
    serve(line, ["edge"])
    with counted_commands(line.redis) as counts:
        assert torch.equal(step.get(MID), by_diffusers(1.0)[1])
    assert (counts["evalsha"], counts["hmget"]) == (0, 0)


def test_a_worker_that_may_not_hold_a_controlnet_leaves_it_to_others(line: Line) -> None:
    job = make_holder(line, 1)
    job.worker.served_controlnets = ["depth"]
    step = ask(job.client)
    serve(line, ["edge"])
    before = results("edge", "requester")
    take(step, 1)
    assert results("edge", "requester") == before


class EncoderDevice(FakeDevice):
    """Is asynchronous; ``meanwhile`` runs while somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def finish(self, number: int | None = None) -> None:
        self.waits += 1
        self.meanwhile()
        super().finish(number)


def test_others_have_the_encoders_time_on_the_device_to_claim_a_part(line: Line) -> None:
    # Given two ControlNets that nobody has claimed when the encoder is submitted
    device = EncoderDevice()
    job = make_holder(line, 2, device=device)
    step = ask(job.client)
    # When another worker takes one while the device computes the encoder
    device.meanwhile = lambda: serve(line, ["edge"])
    before = [results(name, "requester") for name in NAMES[:2]]
    found = take(step, 2)
    # Then only the other is computed here
    assert all(map(torch.equal, found, expected(2)))
    assert [results(name, "requester") - old for name, old in zip(NAMES, before, strict=False)] == [0, 1]


def test_a_requester_waits_for_its_encoder_only_if_a_part_is_unclaimed(line: Line) -> None:
    for names, waits in ((["edge", "depth"], 0), (["depth"], 1)):
        device = EncoderDevice()
        job = make_holder(line, 2, device=device)
        step = ask(job.client)
        serve(line, names)
        line.steps.claim_unclaimed(step.request, [])  # the server knows the script
        with counted_commands(line.redis) as counts:
            step.get(MID)
        looks = 1 + waits * len(LOOK_PAUSES_S)
        assert (device.waits, counts["hmget"], counts["evalsha"]) == (waits, looks, waits)


class Looks(StepQueue):
    """``meanwhile`` runs after each look for who has claimed a part."""

    def __init__(self, line: Line) -> None:
        super().__init__(line.redis, line.settings)
        self.meanwhile: Callable[[], object] = lambda: None

    def find_unclaimed(self, *args: Any) -> list[ControlNetCall]:
        """See `StepQueue`."""
        found = super().find_unclaimed(*args)
        self.meanwhile()
        return found


def test_a_requester_does_not_wait_for_its_encoder_once_a_helper_has_claimed(line: Line) -> None:
    # Given a helper that claims the part a moment after the requester has looked for it
    device, looks = EncoderDevice(), Looks(line)
    job = make_holder(line, 1, device=device)
    job.worker.steps = looks
    step = ask(job.client)
    looks.meanwhile = lambda: serve(line, ["edge"])
    before = results("edge", "requester")
    # Then the loop goes on while the device computes, and takes what the helper has sent
    assert torch.equal(step.get(MID), expected(1)[0])
    assert (device.waits, results("edge", "requester")) == (0, before)


def test_a_requester_waits_for_its_latents_in_the_hosts_memory_only_if_it_sends_them(line: Line) -> None:
    waits = []
    for served in (None, []):
        device = FakeDevice()
        job = make_holder(line, 2, device=device)
        job.worker.other_workers.served = served
        ask(job.client, copy=device.to_host(X))
        waits.append(sum(entry.startswith("wait") for entry in device.log))
    assert waits == [1, 0]


def test_nothing_is_submitted_for_parts_that_others_compute(line: Line) -> None:
    device = FakeDevice()
    job = make_job(line, spec("edge"), device=device)
    step = ask(job.client)
    serve(line, ["edge"])
    step.get(MID)
    # Only the events at which the encoder ended, and the wait began and ended, twice
    assert sum(entry.startswith("record") for entry in device.log) == 4


def test_a_part_that_another_worker_claims_between_look_and_claim_is_not_computed_twice(line: Line) -> None:
    device = EncoderDevice()
    job = make_holder(line, 1, device=device)
    step = ask(job.client)
    device.meanwhile = lambda: serve(line, ["edge"])
    before = results("edge", "requester")
    assert all(map(torch.equal, take(step, 1), expected(1)))
    assert results("edge", "requester") == before


def test_a_step_that_the_server_loses_before_the_claim_is_computed_at_once(line: Line) -> None:
    job = make_holder(line, 2)
    step = ask(job.client)
    line.redis.flushall()
    assert all(map(torch.equal, take(step, 2), expected(2)))
    assert step.request.retry == 0


def test_jobs_share_the_work_with_servers_and_every_sum_is_diffusers_own(line: Line) -> None:
    # Given eight jobs of three ControlNets whose workers hold them all, beside two servers
    sums = expected(3)

    def run_job(_: int) -> bool:
        job = make_holder(line, 3)
        steps = [take(ask(job.client, i), 3) for i in range(3)]
        job.client.close()
        return all(all(map(torch.equal, found, sums)) for found in steps)

    with ExitStack() as stack:
        for i in range(2):
            stack.enter_context(serving(make_server(line, *NAMES), f"controlnet{i}@test"))
        clients = stack.enter_context(ThreadPoolExecutor(8))
        assert all(clients.map(run_job, range(8)))
    # And nothing is left to do
    assert not any(line.redis.llen(exact_steps(line, name)) for name in NAMES)


def test_a_step_that_could_not_be_sent_is_computed_at_once(line: Line) -> None:
    # Given a server that is away while a step is sent, and back when its residuals are needed
    job = make_holder(line, 2)
    ask(job.client).get(MID)
    [port] = free_ports(1)
    url = {"residual_redis_url": (f"redis://127.0.0.1:{port}/0",)}
    gone = without_retries(residual_servers(line.settings.model_copy(update=url))[0])
    job.worker.steps = StepQueue(gone, line.settings)
    step = ask(job.client, 1)
    job.worker.steps = line.steps
    with counted_commands(line.redis) as counts:
        assert all(map(torch.equal, take(step, 2), expected(2)))
    assert counts["evalsha"] == 0


def test_without_its_residual_server_a_requester_computes_what_it_holds(line: Line) -> None:
    [port] = free_ports(1)
    url = {"residual_redis_url": (f"redis://127.0.0.1:{port}/0",)}
    gone = without_retries(residual_servers(line.settings.model_copy(update=url))[0])
    job = make_holder(line, 2)
    job.worker.steps = StepQueue(gone, line.settings)
    job.worker.transport = ResidualTransport([gone], line.settings)
    assert all(map(torch.equal, take(ask(job.client), 2), expected(2)))


def test_a_part_whose_worker_died_is_computed_here_after_its_lease(line: Line) -> None:
    # Given a worker that claims one of two parts and dies
    short = make_line(line.redis, line.settings.model_copy(update={"controlnet_lease_s": 0.2}))
    job = make_holder(short, 2)
    step = ask(job.client)
    claim_next(make_line(line.redis, short.settings).steps, "depth")
    # Then the requester computes it after its lease, the other part once, and asks nobody again
    before = [results(name, "requester") for name in NAMES[:2]]
    assert all(map(torch.equal, take(step, 2), expected(2)))
    assert [results(name, "requester") - old for name, old in zip(NAMES, before, strict=False)] == [1, 1]
    assert step.request.retry == 0


def test_a_superseded_attempt_claims_nothing_and_ends_by_its_lease(line: Line) -> None:
    def superseded() -> None:
        raise AttemptLost("another attempt has the job")

    first = make_holder(line, 1, job_id="job", ordinal=1, check=superseded)
    step = ask(first.client)
    ask(make_holder(line, 1, job_id="job", ordinal=2).client)
    before = results("edge", "requester")
    with pytest.raises(AttemptLost):
        step.get(MID)
    assert results("edge", "requester") == before
    serve(line, ["edge"])  # the second one's step is still there


@pytest.mark.parametrize(
    "options",
    [{}, {"guess_mode": True}, {"split_steps": [0, 2], "lora_loading": LoraLoading(mode="replay", steps={})}],
    ids=["whole batch", "guess mode", "branch by branch"],
)
def test_an_image_is_the_same_if_its_worker_claims_every_part(
    options: dict[str, Any], make_worker: Callable[..., UNetWorker]
) -> None:
    holder = make_worker(serve_controlnets=False)
    with holder.controlnets.use("edge"):
        pass
    controls = [control(holder, conditioning_scale=scale) for scale in SCALES[:2]]
    wanted = job_spec(controlnets=controls, num_inference_steps=3, **options)
    here = run(holder, wanted)
    worker = make_worker()
    served = run(worker, wanted)
    assert np.array_equal(pixels(holder, here), pixels(worker, served))
    assert here.receipt == served.receipt
    assert {span.worker for span in here.timeline if span.name == "controlnet edge"} == {"unet1@test"}
    assert "controlnet1@test" in {span.worker for span in served.timeline}


def test_an_asynchronous_device_computes_the_same_image_with_its_own_controlnets(
    make_worker: Callable[..., UNetWorker],
) -> None:
    # Given a device on which copies to the host hold NaN until somebody waits for them
    plain, device = make_worker(serve_controlnets=False), FakeDevice()
    with plain.controlnets.use("edge"):
        pass
    transport = ResidualTransport([plain.residual], plain.settings, device=device)
    holder = dataclasses.replace(plain, device=device, transport=transport)
    wanted = job_spec(controlnets=[control(plain), control(plain)], num_inference_steps=3)
    jobs = [run(worker, wanted) for worker in (plain, holder)]
    assert np.array_equal(pixels(plain, jobs[0]), pixels(plain, jobs[1]))
    assert {span.worker for span in jobs[1].timeline if span.name == "controlnet edge"} == {"unet1@test"}
