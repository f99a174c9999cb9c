"""Which ControlNets a follower of an exact job may have computed its branch with."""

import pytest
from redis import Redis

from shared.registry.workers import publish_heartbeat
from shared.settings import Settings
from tests.workers.unet.controlnet.test_platforms import OTHER, heartbeat
from tests.workers.unet.controlnet_jobs import Line, make_job, make_line, spec
from workers.transport.protocol import UsedControlNet
from workers.transport.step_queue import StepQueue
from workers.unet.cfg_parallel.controlnet_check import why_refused


@pytest.fixture
def line(residual: Redis, control: Redis, servers: Settings) -> Line:
    residual.flushall()
    control.flushdb()
    return make_line(residual, servers)


@pytest.mark.parametrize("is_held", [True, False])
def test_an_exact_job_has_each_controlnet_computed_on_one_platform(
    line: Line, control: Redis, is_held: bool
) -> None:
    # Given workers that hold the ControlNet themselves, or a ControlNet worker of another platform
    other = StepQueue(line.redis, line.settings, OTHER).platform
    publish_heartbeat(control, heartbeat(other.digest), 60)
    context = make_job(line, spec("edge"), local=is_held).context
    here = UsedControlNet(sha256="1" * 64, engine="eager", memory_format="contiguous")
    there = here.model_copy(update={"platform": other})
    # Then a branch may come from where the job's ControlNet is computed, and from nowhere else
    right, wrong = (here, there) if is_held else (there, here)
    assert why_refused(context, {0: [right]}) is None
    refused = why_refused(context, {0: [right, wrong]})
    assert refused is not None
    assert "another platform" in refused


def test_any_platform_may_compute_the_controlnets_of_a_bounded_job(line: Line) -> None:
    context = make_job(line, spec("edge"), alone=False).context
    other = StepQueue(line.redis, line.settings, OTHER).platform
    there = UsedControlNet(sha256="1" * 64, engine="eager", memory_format="contiguous", platform=other)
    assert why_refused(context, {0: [there]}) is None
