"""What the timeline says about the residuals of a step, over a real residual Redis."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import Any

import pytest
import torch
from redis import Redis

from shared.families.unet import SD1
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.workers.unet.controlnet_jobs import (
    MID,
    MODELS,
    Line,
    ask,
    by_diffusers,
    claim_next,
    compute,
    make_job,
    make_line,
    make_server,
    spec,
)
from workers.transport import transport
from workers.transport.keys import responses_key
from workers.transport.protocol import StepRequest, StepResponse
from workers.unet import timeline

#: For a base model to ask for a residual, on a busy machine.
ASKED_S = 30.0


def count_waits(line: Line, monkeypatch: pytest.MonkeyPatch) -> Semaphore:
    """Released each time that a base model on ``line`` begins to wait: Redis counts also others that wait."""
    waits, receive = Semaphore(0), line.transport.receive

    def receive_counted(
        request: StepRequest, timeout_s: float, on_wait: Callable[[], None], *, held_bytes: int
    ) -> object:
        def begin_wait() -> None:
            on_wait()
            waits.release()

        return receive(request, timeout_s, begin_wait, held_bytes=held_bytes)

    monkeypatch.setattr(line.transport, "receive", receive_counted)
    return waits


def test_the_timeline_tells_a_wait_for_a_residual_from_the_transfer_of_one_that_was_there(
    residual: Redis, servers: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    residual.flushall()
    monkeypatch.setattr(timeline, "MIN_WAIT_SHOWN_S", 0.0)
    line = make_line(residual, servers)
    server, begun_waits = make_server(line, "edge"), count_waits(line, monkeypatch)
    controlnets, context, _ = make_job(line, spec("edge"))

    def waits() -> set[str]:
        names = {span.name for span in context.timeline.spans}
        return names & {"wait for residuals", "wait for transfer"}

    # Given a step whose residuals have come before they are needed
    step = ask(controlnets)
    compute(server, [claim_next(server.steps, "edge")])
    assert eventually(lambda: residual.exists(responses_key(step.request)))
    step.get(MID)
    assert waits() == {"wait for transfer"}
    # And one that is computed only once its first residual is waited for
    context.timeline.spans.clear()
    late = ask(controlnets, 1)
    with ThreadPoolExecutor(1) as thread:
        mid = thread.submit(late.get, MID)
        assert begun_waits.acquire(timeout=ASKED_S)
        compute(server, [claim_next(server.steps, "edge")])
        mid.result()
    assert waits() == {"wait for residuals"}


@pytest.mark.parametrize("late", [[], [0], [0, 3, 4]], ids=str)
def test_the_timeline_tells_which_residuals_of_a_step_were_waited_for(
    residual: Redis, servers: Settings, monkeypatch: pytest.MonkeyPatch, late: Sequence[int]
) -> None:
    residual.flushall()
    monkeypatch.setattr(timeline, "MIN_WAIT_SHOWN_S", 0.0)
    line = make_line(residual, servers)
    begun_waits = count_waits(line, monkeypatch)
    controlnets, context, _ = make_job(line, spec("edge"))
    step, other = ask(controlnets), make_line(residual, servers)
    request = claim_next(other.steps, "edge").request

    def send(index: int) -> None:
        response = StepResponse(
            index=index, positions=[0], retry=0, start_s=0.0, end_s=1.0, worker="controlnet1@test"
        )
        other.transport.respond(request, [(response, torch.ones(1))])

    # Given a ControlNet that has each residual in time, but for some: those once the base model waits for it
    with ThreadPoolExecutor(1) as thread:
        for place, index in enumerate(SD1.control_plan(MODELS["edge"].config, None).wanted):
            if place not in late:
                send(index)
                assert eventually(lambda: residual.exists(responses_key(request)))
            taken = thread.submit(step.get, index)
            if place in late:
                assert begun_waits.acquire(timeout=ASKED_S)
                send(index)
            taken.result()
    waits = [span for span in context.timeline.spans if span.name == "wait for residuals"]
    assert [span.residual for span in waits] == late


def test_a_step_that_is_larger_than_the_device_may_hold_is_received_as_it_is_needed(
    residual: Redis, servers: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    residual.flushall()
    places = SD1.control_plan(MODELS["edge"].config, None).wanted
    monkeypatch.setattr(transport, "max_held_bytes", lambda device, step_bytes: 1)
    line, held = make_line(residual, servers), []
    receive = line.transport.receive

    def receive_counted(*args: Any, held_bytes: int) -> Any:
        received = receive(*args, held_bytes=held_bytes)
        held.append((held_bytes, len(received)))
        return received

    monkeypatch.setattr(line.transport, "receive", receive_counted)
    # Given a step of two ControlNets, all of whose residuals have come: those of the second one first
    controlnets, _, _ = make_job(line, spec("edge"), spec("depth"))
    step = ask(controlnets)
    for name in ("depth", "edge"):
        server = make_server(line, name)
        compute(server, [claim_next(server.steps, name)])
    # Then the base model is given each
    down, mid = by_diffusers(1.0, 1.0)
    assert all(torch.equal(step.get(index), [*down, mid][index]) for index in places)
    # And one is brought to the device at a time, after those that came before it
    assert [count for _, count in held] == [1] * (2 * len(places))
    most = sum(tensor.nbytes for tensor in (*down, mid))
    assert max(held_bytes for held_bytes, _ in held) == most
    assert held[-1][0] < most
