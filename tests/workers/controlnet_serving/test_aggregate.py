"""Forward passes whose residuals are handed over together."""

from collections.abc import Sequence

import pytest
from redis import Redis

from shared.settings import Settings
from tests.workers.unet.controlnet_jobs import ask, claim_next, make_controlnets, make_line, make_server, spec
from workers.controlnet_serving.aggregate import ResidualAggregator
from workers.controlnet_serving.forward import BatchedForward
from workers.transport.protocol import StepRequest


@pytest.mark.parametrize("is_current", [True, False])
def test_whether_a_step_of_three_controlnets_is_current_is_asked_once(
    is_current: bool, residual: Redis, servers: Settings
) -> None:
    # Given the forward passes of three ControlNets of one job
    residual.flushall()
    line, names = make_line(residual, servers), ("edge", "depth", "colour")
    server = make_server(line, *names)
    ask(make_controlnets(line, *map(spec, names)))
    forwards = []
    for name in names:
        step = claim_next(server.steps, name)
        with server.controlnets.use(name) as controlnet:
            forwards.append(BatchedForward(controlnet, [step], server.inputs))
    asked: list[StepRequest] = []

    def are_current(requests: Sequence[StepRequest]) -> list[bool]:
        asked.extend(requests)
        return [is_current] * len(requests)

    # When the job may be past the step
    aggregator = ResidualAggregator(forwards)
    aggregator.drop_superseded(are_current)
    # Then one question is for all three
    assert len(asked) == 1
    assert len(list(aggregator.residuals(aggregator.order[0]))) == int(is_current)
