"""The queues of steps, over a real residual Redis: who may claim what, and where a step is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError

from shared.families.flux import FLUX
from shared.families.unet import SDXL
from shared.redis_clients import residual_servers, without_retries
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.proxy import Proxy, proxied
from tests.workers.unet.controlnet_jobs import Line, X, ask, exact_steps, make_controlnets, make_line, spec
from workers.controlnet_serving.lease_renewer import LeaseRenewer
from workers.transport.keys import claims_key, lease_key, served_key
from workers.transport.protocol import StepRequest
from workers.transport.step_queue import ClaimedStep, StepQueue


@pytest.fixture
def line(residual: Redis, servers: Settings) -> Line:
    residual.flushall()
    return make_line(residual, servers)


@contextmanager
def far_line(servers: Settings, *, retries: bool = True) -> Iterator[tuple[Line, Proxy]]:
    """A line whose connections go through a proxy; ``retries``: what breaks is tried again."""
    with proxied(servers.residual_redis_port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        (redis,) = residual_servers(servers.model_copy(update={"residual_redis_url": (url,)}))
        yield make_line(redis if retries else without_retries(redis), servers), proxy


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
    assert line.redis.llen(exact_steps(line, "edge")) == 0


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
    # Nobody else takes its entry in vain
    assert line.redis.llen(exact_steps(line, "depth")) == 0


def test_asking_for_a_step_and_claiming_it_take_one_round_trip_each(line: Line) -> None:
    controlnets = make_controlnets(line, spec("edge"), spec("depth"), spec("colour"))
    ask(controlnets)  # the server knows the scripts now
    assert take(line.steps, "edge") is not None
    line.redis.delete(exact_steps(line, "depth"))
    line.redis.config_resetstat()
    ask(controlnets, 1)
    mine = take(line.steps, "depth")
    assert mine is not None
    stats = line.redis.info("commandstats")
    sent = {name: stats[f"cmdstat_{name}"]["calls"] for name in ("evalsha", "blpop")}
    assert sent == {"evalsha": 1 + 1, "blpop": 1}
    assert "cmdstat_script|exists" not in stats


def test_a_part_that_the_asking_worker_computes_itself_is_neither_queued_nor_claimed(line: Line) -> None:
    # Given a step of two ControlNets of which the first is computed by the worker that asks
    other = make_line(line.redis, line.settings).steps
    request = ask(make_controlnets(line, spec("edge"), spec("depth"))).request
    line.redis.delete(exact_steps(line, "edge"), exact_steps(line, "depth"))
    request = request.model_copy(update={"retry": 1})
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


def test_the_requester_claims_what_nobody_has_claimed_and_it_leaves_its_queue(line: Line) -> None:
    # Given a step of three ControlNets, of which another worker has claimed the middle one
    other = make_line(line.redis, line.settings).steps
    request = ask(make_controlnets(line, spec("edge"), spec("depth"), spec("edge"))).request
    edge, depth, second_edge = request.parts
    assert take(other, "depth") is not None
    # When its requester wants the first two, then all
    assert line.steps.find_unclaimed(request, request.parts) == [edge, second_edge]
    assert line.steps.claim_unclaimed(request, [edge, depth]) == [edge]
    assert line.redis.llen(exact_steps(line, "edge")) == 1
    assert line.steps.claim_unclaimed(request, request.parts) == [second_edge]
    # Then nothing is left for others
    assert line.redis.llen(exact_steps(line, "edge")) == 0
    assert [other.claim_call(request, part) for part in request.parts] == [None] * 3
    assert line.steps.find_unclaimed(request, request.parts) == []
    assert line.redis.ttl(claims_key(request.job_id)) > 0


def test_the_requester_takes_its_own_entry_of_a_queue_that_others_wait_in(line: Line) -> None:
    requests = [ask(make_controlnets(line, spec("edge"), job_id=name)).request for name in ("a", "b", "c")]
    assert line.steps.claim_unclaimed(requests[1], requests[1].parts) == requests[1].parts
    claimed = [take(line.steps, "edge") for _ in range(2)]
    assert [step.request.job_id for step in claimed if step] == ["a", "c"]


def test_an_entry_that_was_taken_and_not_claimed_goes_to_whoever_claims_first(line: Line) -> None:
    # Given entries of two jobs that a worker has taken: one by itself, one to join a batch
    other = make_line(line.redis, line.settings).steps
    first, second = (
        ask(make_controlnets(line, spec("edge"), job_id=name, alone=False)).request for name in ("a", "b")
    )
    taken = other.pop(["edge"])
    assert taken is not None
    [joining] = other.collect_batch(first.parts[0], first, extra_rows=8)
    # When the requester of one and the worker claim both
    assert line.steps.claim_unclaimed(first, first.parts) == first.parts
    assert other.claim(joining) is not None
    # Then each has one
    assert other.claim(taken) is None
    assert line.steps.claim_unclaimed(second, second.parts) == []


def test_steps_of_a_union_join_those_of_their_control_mode(line: Line) -> None:
    # Given steps of unions whose rows are independent, one of them twice in its job
    def asked(*modes: int | None, **options: Any) -> StepRequest:
        parts = [spec("edge", control_mode=mode) for mode in modes]
        return ask(make_controlnets(line, *parts, alone=False, **{"facts": FLUX, **options})).request

    first, other, same = asked(2, 4), asked(4), asked(2)
    plain, mixed = asked(None), asked(2, facts=SDXL)
    assert {request.batch_key == "" for request in (first, other, same, plain)} == {False}
    assert mixed.batch_key == ""
    # Then each part joins the steps of its own mode
    for part, joining in zip(first.parts, (same, other), strict=True):
        found = line.steps.collect_batch(part, first, extra_rows=8)
        assert [queued.job_id for queued in found] == [joining.job_id]


def test_a_superseded_request_claims_nothing(line: Line) -> None:
    step = ask(make_controlnets(line, spec("edge"), job_id="job", ordinal=1))
    first = step.request
    for later in (
        ask(make_controlnets(line, spec("edge"), job_id="job", ordinal=2)).request,  # another attempt
        first.model_copy(update={"ordinal": 2, "attempt": "attempt", "retry": 1}),  # sent again
    ):
        line.steps.send(later, X)
        assert line.steps.claim_unclaimed(first, first.parts) == []
        assert line.steps.claim_unclaimed(later, later.parts) == later.parts


def test_what_the_server_has_lost_is_the_requesters(line: Line) -> None:
    # Given a worker that has claimed a part before the server lost everything
    request = ask(make_controlnets(line, spec("edge"), spec("depth"))).request
    assert take(line.steps, "edge") is not None
    line.redis.flushall()
    # Then no residual of it can come any more
    assert line.steps.claim_unclaimed(request, request.parts) == request.parts
    # And nothing is left behind
    assert line.redis.dbsize() == 0


def test_a_part_that_the_requester_computes_is_current_and_never_abandoned(line: Line) -> None:
    step = ask(make_controlnets(line, spec("edge"), spec("depth")))
    edge, depth = step.request.parts
    assert line.steps.claim_unclaimed(step.request, [edge]) == [edge]
    # A worker that serves the other part goes on, and no lease of the requester is asked for
    assert line.steps.are_current([step.request]) == [True]
    assert line.steps.locate(step.request, depth) == "unserved"
    assert not line.redis.exists(lease_key(line.steps.claimant))


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


def test_a_connection_that_is_dead_without_being_closed_delays_no_renewal_and_no_look(
    line: Line, servers: Settings
) -> None:
    settings = servers.model_copy(update={"controlnet_lease_s": 1.0})
    with proxied(servers.residual_redis_port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        (redis,) = residual_servers(settings.model_copy(update={"residual_redis_url": (url,)}))
        far = make_line(redis, settings)
        renewer = LeaseRenewer(far.steps, lambda: ["edge"])
        controlnets = make_controlnets(far, spec("edge"))
        request = ask(controlnets).request
        with renewer:
            # Given a worker that has claimed a step
            claimed = take(far.steps, "edge")
            assert claimed is not None
            far.steps.renew(["edge"])
            # When its connections pass nothing any more
            proxy.silence()
            line.redis.delete(lease_key(far.steps.claimant))
            renewer.start()
            # Then it renews its lease over another one
            eventually(lambda: line.redis.exists(lease_key(far.steps.claimant)))
            renewer.stop()
        # And who waits for the step learns where it is, at the second look at the latest
        proxy.silence()
        with pytest.raises(TimeoutError):
            far.steps.locate(request, request.parts[0])
        assert far.steps.locate(request, request.parts[0]) in ("claimed", "abandoned")


def test_an_overdue_step_of_any_controlnet_is_claimed_by_two_calls(line: Line) -> None:
    other = make_line(line.redis, line.settings).steps
    first, second = (ask(make_controlnets(line, spec("depth"), job_id=name)).request for name in ("a", "b"))
    for request in (first, second):
        line.steps.mark_overdue(request, request.parts[0])
    assert other.claim_overdue(["edge", "colour", "depth"]) is not None  # the server knows the script
    line.redis.config_resetstat()
    claimed = other.claim_overdue(["edge", "colour", "depth"])
    assert claimed is not None
    assert claimed.request.job_id == "b"
    stats = line.redis.info("commandstats")
    calls = {name: stats[f"cmdstat_{name}"]["calls"] for name in ("lmpop", "evalsha")}
    assert calls == {"lmpop": 1, "evalsha": 1}


def test_an_overdue_step_is_asked_for_once_while_redis_is_silent(line: Line, servers: Settings) -> None:
    settings = servers.model_copy(update={"controlnet_lease_s": 1.0})
    with proxied(servers.residual_redis_port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        (redis,) = residual_servers(settings.model_copy(update={"residual_redis_url": (url,)}))
        far = make_line(redis, settings)
        assert far.steps.claim_overdue(["edge"]) is None
        proxy.silence()
        with pytest.raises(TimeoutError):
            far.steps.claim_overdue(["edge"])
        # Then the next look finds one, over another connection
        request = ask(make_controlnets(line, spec("edge"))).request
        line.steps.mark_overdue(request, request.parts[0])
        assert far.steps.claim_overdue(["edge"]) is not None


def test_a_claim_whose_reply_is_lost_is_answered_when_it_is_repeated(line: Line, servers: Settings) -> None:
    other = make_line(line.redis, line.settings).steps
    with far_line(servers) as (far, proxy):
        ask(make_controlnets(line, spec("edge")))
        assert take(far.steps, "edge") is not None  # the server knows the script
        request = ask(make_controlnets(line, spec("edge"))).request
        queued = far.steps.pop(["edge"])
        assert queued is not None
        # When the connection breaks once the server has made the claim
        proxy.cuts = 1
        claimed = far.steps.claim(queued)
        # Then the second try gets the step
        assert proxy.cuts == 0
        assert claimed is not None
        assert claimed.request == request
        # And another call does not, whoever makes it
        assert [steps.claim(queued) for steps in (far.steps, other)] == [None, None]
        assert other.locate(request, request.parts[0]) == "claimed"


def test_a_requester_whose_reply_is_lost_has_what_it_has_claimed(line: Line, servers: Settings) -> None:
    with far_line(servers) as (far, proxy):
        request = ask(make_controlnets(line, spec("edge"), spec("depth"), spec("colour"))).request
        edge, depth, colour = request.parts
        far.steps.claim_unclaimed(request, [])  # the server knows the script
        proxy.cuts = 1
        assert far.steps.claim_unclaimed(request, [colour, depth, edge], most=2) == [colour, depth]
        assert proxy.cuts == 0
        assert line.steps.find_unclaimed(request, request.parts) == [edge]


def test_a_request_that_is_repeated_for_a_lost_reply_takes_nothing_back(line: Line) -> None:
    other = make_line(line.redis, line.settings).steps
    request = ask(make_controlnets(line, spec("edge"), spec("depth"))).request
    assert take(other, "edge") is not None
    line.steps.send(request, X)
    assert line.steps.locate(request, request.parts[0]) == "claimed"
    assert [line.redis.llen(exact_steps(line, name)) for name in ("edge", "depth")] == [0, 1]


@pytest.mark.parametrize("by", ["renewal", "claim"])
def test_a_claim_whose_call_has_failed_is_not_kept_alive(by: str, line: Line, servers: Settings) -> None:
    with far_line(servers, retries=False) as (far, proxy):
        ask(make_controlnets(line, spec("edge")))
        assert take(far.steps, "edge") is not None  # the server knows the script
        request = ask(make_controlnets(line, spec("edge"))).request
        queued = far.steps.pop(["edge"])
        assert queued is not None
        # Given a claim that the server has made, and a worker that does not know
        proxy.cuts = 1
        with pytest.raises(ConnectionError):
            far.steps.claim(queued)
        assert line.steps.locate(request, request.parts[0]) == "claimed"
        # When the worker renews its lease for what else it has claimed
        if by == "renewal":
            far.steps.renew(["edge"])
        else:
            ask(make_controlnets(line, spec("edge")))
            assert take(far.steps, "edge") is not None
        # Then the requester learns that nobody computes this part
        assert line.steps.locate(request, request.parts[0]) == "lost"


def test_an_entry_that_is_popped_and_never_arrives_is_found_lost(line: Line, servers: Settings) -> None:
    with far_line(servers) as (far, proxy):
        far.steps.has_overdue(["edge"])  # there is a connection
        request = ask(make_controlnets(line, spec("edge"))).request
        proxy.cuts = 1
        assert far.steps.pop(["edge"]) is None
        assert line.steps.locate(request, request.parts[0]) == "lost"


def test_an_overdue_entry_that_never_arrives_is_in_its_queue_and_marked_again(
    line: Line, servers: Settings
) -> None:
    with far_line(servers) as (far, proxy):
        assert far.steps.claim_overdue(["edge"]) is None  # there is a connection
        request = ask(make_controlnets(line, spec("edge"))).request
        [part] = request.parts
        line.steps.mark_overdue(request, part)
        proxy.cuts = 1
        with pytest.raises(ConnectionError):
            far.steps.claim_overdue(["edge"])
        assert line.steps.locate(request, part) == "unserved"
        line.steps.mark_overdue(request, part)
        assert far.steps.claim_overdue(["edge"]) is not None


def test_one_worker_loads_a_controlnet_for_overdue_steps_that_nobody_serves(line: Line) -> None:
    first, second = (make_line(line.redis, line.settings).steps for _ in range(2))
    request = ask(make_controlnets(line, spec("edge"))).request
    [part] = request.parts
    assert first.find_overdue(["depth", "edge"]) == []
    line.steps.mark_overdue(request, part)
    assert first.find_overdue(["depth", "edge"]) == ["edge"]
    assert [steps.begin_load("edge") for steps in (first, second)] == [True, False]
    # Who waits for the step knows that it will be served, and nobody loads what is served
    assert line.steps.locate(request, part) == "queued"
    # When the worker that loads is gone, another one does
    line.redis.delete(*(served_key("edge", platform) for platform in ("", first.platform_digest)))
    assert line.steps.locate(request, part) == "unserved"
    assert second.begin_load("edge")
    line.redis.delete(served_key("edge", part.platform))
    second.go_on_loading("edge")
    assert line.steps.locate(request, part) == "queued"
