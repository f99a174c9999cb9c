"""The queues of steps, over a real residual Redis: who may claim what, and where a step is."""

import pytest
from redis import Redis

from shared.keys import controlnet_steps
from shared.settings import Settings
from tests.workers.unet.controlnet_jobs import Line, X, ask, make_controlnets, make_line, spec
from workers.transport.keys import claims_key, lease_key
from workers.transport.step_queue import ClaimedStep, StepQueue


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


def take(steps: StepQueue, *controlnets: str) -> ClaimedStep | None:
    queued = steps.pop(controlnets)
    assert queued is not None
    return steps.claim(queued)


def test_steps_of_a_finished_job_are_not_computed(line: Line) -> None:
    controlnets = make_controlnets(line, spec("edge"))
    ask(controlnets)
    controlnets.close()
    assert take(line.steps, "edge") is None


def test_an_attempt_that_lost_its_job_cannot_replace_the_request_of_its_successor(line: Line) -> None:
    # Given a second attempt that asks for a step
    second = make_controlnets(line, spec("edge"), job_id="job", ordinal=2)
    ask(second)
    # When the first one wakes up, asks and closes
    first = make_controlnets(line, spec("edge"), job_id="job", ordinal=1)
    ask(first, 7, 8, t=101.0)
    first.close()
    # Then only the second one's step is computed
    claimed = take(line.steps, "edge")
    assert claimed is not None
    assert claimed.request.ordinal == 2
    assert take(line.steps, "edge") is None


def test_a_later_step_supersedes_an_older_request(line: Line) -> None:
    controlnets = make_controlnets(line, spec("edge"))
    ask(controlnets, 0)
    ask(controlnets, 1, t=481.0)
    assert take(line.steps, "edge") is None
    claimed = take(line.steps, "edge")
    assert claimed is not None
    assert (claimed.request.step, claimed.request.t) == (1, 481.0)


def test_a_part_of_a_step_has_one_worker(line: Line) -> None:
    ask(make_controlnets(line, spec("edge"), spec("depth")))
    other = make_line(line.redis, line.settings).steps
    mine = take(line.steps, "edge")
    assert mine is not None
    edge, depth = mine.request.parts
    assert other.claim_call(mine.request, edge) is None
    assert other.claim_call(mine.request, depth) is not None
    assert take(line.steps, "depth") is None


def test_a_part_that_the_asking_worker_computes_itself_is_neither_queued_nor_claimed(line: Line) -> None:
    # Given a step of two ControlNets of which the first is computed by the worker that asks
    other = make_line(line.redis, line.settings).steps
    request = ask(make_controlnets(line, spec("edge"), spec("depth"))).request
    line.redis.delete(controlnet_steps("edge"), controlnet_steps("depth"))
    line.steps.send(request, X, local={0})
    # Then another worker finds the second, and cannot claim the first beside it
    claimed = take(other, "edge", "depth")
    assert claimed is not None
    assert claimed.part.controlnet == "depth"
    assert other.claim_call(claimed.request, request.parts[0]) is None
    assert line.redis.ttl(claims_key(request.job_id)) > 0


def test_an_attempt_that_lost_its_job_claims_nothing_of_its_successors_step(line: Line) -> None:
    first = ask(make_controlnets(line, spec("edge"), job_id="job", ordinal=1)).request
    ask(make_controlnets(line, spec("edge"), job_id="job", ordinal=2))
    line.steps.send(first.model_copy(update={"step": 1}), X, local={0})
    assert line.steps.pop(["edge"]) is not None  # the first one's
    assert take(line.steps, "edge") is not None


def test_jobs_are_served_in_turn_whatever_their_size(line: Line) -> None:
    # Given a large job and two small ones that wait, and a large one that asks again at once
    large, small, late = (
        make_controlnets(line, spec("edge"), job_id=name) for name in ("large", "small", "late")
    )
    for controlnets in (large, small, late):
        ask(controlnets)
    order = []
    for _ in range(4):
        claimed = take(line.steps, "edge")
        assert claimed is not None
        order.append(claimed.request.job_id)
        if claimed.request.job_id == "large":
            ask(large, claimed.request.step + 1)
    # Then every job that waited is served before its second step
    assert order == ["large", "small", "late", "large"]


def test_a_busy_queue_does_not_keep_a_worker_from_its_other_queues(line: Line) -> None:
    for name in ("edge", "edge", "edge", "depth"):
        ask(make_controlnets(line, spec(name)))
    taken = [take(line.steps, "edge", "depth") for _ in range(3)]
    assert "depth" in [claimed.part.controlnet for claimed in taken if claimed]


def test_the_state_of_a_step_can_be_read_at_any_time(line: Line) -> None:
    short = make_line(line.redis, line.settings.model_copy(update={"controlnet_lease_s": 60})).steps
    step = ask(make_controlnets(line, spec("edge")))
    request = step.request
    [part] = request.parts
    assert line.steps.locate(request, part) == "unserved"
    queued = short.pop(["edge"])
    assert queued is not None
    assert line.steps.locate(request, part) == "lost"
    assert short.claim(queued) is not None
    assert line.steps.locate(request, part) == "claimed"
    waiting = ask(make_controlnets(line, spec("edge"))).request
    assert line.steps.locate(waiting, *waiting.parts) == "queued"
    line.redis.delete(lease_key(short.claimant))
    assert line.steps.locate(request, part) == "abandoned"
    line.redis.flushall()
    assert line.steps.locate(request, part) == "gone"


def test_the_keys_of_a_job_do_not_grow_with_its_steps(line: Line) -> None:
    controlnets = make_controlnets(line, spec("edge"))
    counts = []
    for i in range(4):
        ask(controlnets, i)
        assert take(line.steps, "edge") is not None
        counts.append(line.redis.dbsize())
    assert counts == [counts[0]] * 4
