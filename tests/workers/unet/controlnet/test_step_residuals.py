"""What the timeline says about the residuals of a step, over a real residual Redis."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.workers.unet.controlnet_jobs import (
    MID,
    ask,
    claim_next,
    compute,
    make_job,
    make_line,
    make_server,
    spec,
)
from workers.transport.keys import responses_key
from workers.unet import timeline


def test_the_timeline_tells_a_wait_for_a_residual_from_the_transfer_of_one_that_was_there(
    residual: Redis, servers: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    residual.flushall()
    monkeypatch.setattr(timeline, "MIN_WAIT_SHOWN_S", 0.0)
    line = make_line(residual, servers)
    server = make_server(line, "edge")
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
        assert eventually(lambda: residual.info("clients")["blocked_clients"])
        compute(server, [claim_next(server.steps, "edge")])
        mid.result()
    assert waits() == {"wait for residuals"}
