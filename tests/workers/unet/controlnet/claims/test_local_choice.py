"""Where a ControlNet is computed: here, while its residuals travel for longer than they are computed."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from redis import Redis
from torch import Tensor

from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.workers.transport.backends.in_memory import InMemoryBackend
from tests.workers.unet.controlnet_jobs import (
    MID,
    Line,
    ask,
    ask_served,
    by_diffusers,
    load_controlnets,
    make_job,
    spec,
)
from workers.controlnet_serving.server import ControlNetServer
from workers.transport.backends.base import Location
from workers.transport.protocol import StepResponse
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport
from workers.unet.controlnet.claims.local_choice import (
    MIN_TRAVEL_S,
    RETRY_S,
    STEPS_IN_A_ROW,
    LocalChoice,
)
from workers.unet.controlnet.step_residuals import StepResiduals
from workers.unet.controlnet.travel_times import TravelTimes


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class SlowBackend(InMemoryBackend):
    """Residuals take ``travel_s`` each to be fetched."""

    travel_s = 0.0

    def get(self, location: Location, size_bytes: int, attached: memoryview) -> Tensor | None:
        threading.Event().wait(self.travel_s)
        return super().get(location, size_bytes, attached)


def record(choice: LocalChoice, computed_s: float, travel_s: float, steps: int) -> None:
    for _ in range(steps):
        choice.record("edge", computed_s, travel_s)


def test_a_controlnet_moves_here_after_some_slow_steps_in_a_row_and_back_after_a_while() -> None:
    clock = Clock()
    choice = LocalChoice(clock)
    record(choice, 0.02, 0.03, STEPS_IN_A_ROW - 1)
    assert not choice.is_local("edge")
    record(choice, 0.02, 0.03, 1)
    assert choice.is_local("edge")
    assert not choice.is_local("depth")
    clock.now_s = RETRY_S
    assert not choice.is_local("edge")
    # Then it takes as many slow steps again
    record(choice, 0.02, 0.03, STEPS_IN_A_ROW - 1)
    assert not choice.is_local("edge")


@pytest.mark.parametrize("between", [(0.02, 0.01), (0.04, 0.03)], ids=["fast travel", "slow computation"])
def test_one_step_that_travels_faster_than_it_is_computed_begins_the_count_anew(
    between: tuple[float, float],
) -> None:
    choice = LocalChoice(Clock())
    for _ in range(3):
        record(choice, 0.02, 0.03, STEPS_IN_A_ROW - 1)
        record(choice, *between, 1)
    assert not choice.is_local("edge")


def test_travel_of_a_few_milliseconds_moves_nothing_however_small_the_controlnet() -> None:
    choice = LocalChoice(Clock())
    record(choice, 0.001, MIN_TRAVEL_S, 10 * STEPS_IN_A_ROW)
    assert not choice.is_local("edge")


def test_a_controlnet_that_has_no_place_here_is_left_to_its_workers_for_a_while() -> None:
    clock = Clock()
    choice = LocalChoice(clock)
    record(choice, 0.02, 0.03, STEPS_IN_A_ROW)
    choice.note_unloadable("edge")
    assert not choice.is_local("edge")
    clock.now_s = RETRY_S
    record(choice, 0.02, 0.03, STEPS_IN_A_ROW)
    assert choice.is_local("edge")


def response(index: int, end_s: float, *positions: int) -> StepResponse:
    return StepResponse(
        index=index, positions=list(positions), retry=0, start_s=0.0, end_s=end_s, worker="controlnet1@test"
    )


@pytest.mark.parametrize(
    ("asked_s", "computed_s", "arrived_s", "travel_s"),
    [(1.0, 2.0, 5.0, 3.0), (2.0, 1.0, 5.0, 3.0), (6.0, 1.0, 5.0, 0.0), (1.0, 6.0, 5.0, 0.0)],
    ids=["computed while waited for", "computed before", "came before it was needed", "clocks differ"],
)
def test_travel_counts_from_the_end_of_the_computation_while_somebody_waits(
    asked_s: float, computed_s: float, arrived_s: float, travel_s: float
) -> None:
    times = TravelTimes()
    times.arrived(response(0, computed_s, 0, 1), arrived_s)
    times.arrived(response(1, 0.0, 2), arrived_s)
    times.waited(0, asked_s)
    assert times.travel_s((0, 1)) == travel_s
    assert times.travel_s((2,)) == 0.0


class SlowFleet:
    """A job's end and a ControlNet worker with a backend between them that the test makes slow or fast."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.backend = SlowBackend()
        self.clock = Clock()
        own, other = (
            Line(redis, settings, StepQueue(redis, settings), self._transport(redis, settings))
            for _ in range(2)
        )
        self.line = own
        self.served = load_controlnets()
        self.server = ControlNetServer(["edge", "depth"], self.served, other.steps, other.transport, 0.25)

    def _transport(self, redis: Redis, settings: Settings) -> ResidualTransport:
        return ResidualTransport([redis], settings, backends=[self.backend])


@pytest.fixture
def fleet(residual: Redis, servers: Settings) -> Iterator[SlowFleet]:
    residual.flushall()
    fleet = SlowFleet(residual, servers)
    for name in ("edge", "depth"):
        with fleet.served.use(name):
            pass
    fleet.server.start("controlnet1@test")
    yield fleet
    fleet.server.stop()


def take(step: StepResiduals, expected: tuple[list[Tensor], Tensor]) -> None:
    down, mid = expected
    assert torch.equal(step.get(MID), mid)
    for index in reversed(range(len(down))):
        assert torch.equal(step.get(index), down[index])
    step.finish()


def workers_of(context: Any, controlnet: str) -> list[str]:
    return [span.worker for span in context.timeline.spans if span.name == f"controlnet {controlnet}"]


def test_a_controlnet_behind_a_slow_backend_is_computed_here_for_a_while(
    fleet: SlowFleet,
) -> None:
    expected, steps = by_diffusers(0.7), itertools.count()
    job, context, worker = make_job(
        fleet.line, spec("edge", conditioning_scale=0.7), local=True, residual_timeout_s=60.0
    )
    worker.local_choice = LocalChoice(fleet.clock)
    # Given residuals that travel for longer than they are computed
    fleet.backend.travel_s = 0.2
    for _ in range(STEPS_IN_A_ROW):
        take(ask_served(job, fleet.line, next(steps), 100), expected)
    # When the ControlNet is loaded here, while its worker still serves it
    parts = ask(job, next(steps), 100).request.parts
    assert eventually(lambda: job.session.local_positions(parts) == {0})
    # Then this worker computes it, with the same bits, and nobody else is asked
    before = fleet.backend.received
    for _ in range(2):
        take(ask_served(job, fleet.line, next(steps), 100), expected)
    assert fleet.backend.received == before
    assert workers_of(context, "edge")[-2:] == ["unet1@test"] * 2
    # And after a while the worker is tried again, and stays if travel has become fast
    fleet.backend.travel_s, fleet.clock.now_s = 0.0, RETRY_S
    for _ in range(STEPS_IN_A_ROW + 1):
        take(ask_served(job, fleet.line, next(steps), 100), expected)
    assert workers_of(context, "edge")[-STEPS_IN_A_ROW - 1 :] == ["controlnet1@test"] * (STEPS_IN_A_ROW + 1)


@pytest.mark.parametrize("here", ["edge", "depth"])
def test_sums_are_diffusers_own_if_one_of_two_controlnets_is_computed_here(
    here: str, fleet: SlowFleet
) -> None:
    job, context, worker = make_job(
        fleet.line, spec("edge"), spec("depth"), spec("depth"), local=True, residual_timeout_s=60.0
    )
    with worker.controlnets.use(here):
        pass
    worker.local_choice = LocalChoice(fleet.clock)
    for _ in range(STEPS_IN_A_ROW):
        worker.local_choice.record(here, 0.0, 1.0)
    take(ask(job), by_diffusers(1.0, 1.0, 1.0, models=("edge", "depth", "depth")))
    assert set(workers_of(context, here)) == {"unet1@test"}
    others = {span.worker for span in context.timeline.spans if span.name.startswith("controlnet ")}
    assert others == {"unet1@test", "controlnet1@test"}


def test_only_what_no_worker_serves_is_computed_here_if_the_setting_says_so(fleet: SlowFleet) -> None:
    job, _, worker = make_job(
        fleet.line, spec("edge"), local=True, local_controlnets="unserved", residual_timeout_s=60.0
    )
    for _ in range(STEPS_IN_A_ROW):
        worker.local_choice.record("edge", 0.0, 1.0)
    step = ask(job)
    assert job.session.local_positions(step.request.parts) == frozenset()
    take(step, by_diffusers(1.0))
