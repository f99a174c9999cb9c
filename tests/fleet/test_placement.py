"""Jobs go to free workers, each to one; a worker that dies with a reserved job loses none."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from redis import Redis

from infra.local.environment import inherit
from shared import keys
from shared.messaging.celery_app import worker_queue
from shared.settings import ROOT
from tests.fleet.conftest import Client
from tests.infra.local.waiting import eventually

READY_S = 90


@pytest.fixture
def control(fleet: Client) -> Redis:
    client: Redis = Redis.from_url(fleet.stack.env["SWIFT_REDIS_URL"], decode_responses=True)
    return client


@pytest.fixture(scope="module")
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The processes that `second` has started."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def second(fleet: Client, started: list["subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """Another UNet worker of the same fleet, started anew if a test has killed it."""
    if not started or started[-1].poll() is not None:
        started.append(start_second(fleet))
    return started[-1]


def start_second(fleet: Client) -> "subprocess.Popen[bytes]":
    options = ["worker", "-n", "unet2@%h", "--pool=threads", "--concurrency=1", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "-A", "workers.unet.app", *options]
    env = inherit({"OMP_NUM_THREADS": "1", **fleet.stack.env})
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_until_free(control: Redis, count: int) -> list[str]:
    def are_free() -> list[str]:
        names = [str(name) for name in control.zrange(keys.FREE_WORKERS, 0, -1)]
        return names if len(names) == count else []

    return eventually(are_free, READY_S)


def test_jobs_are_spread_over_free_workers(
    fleet: Client, control: Redis, second: "subprocess.Popen[bytes]"
) -> None:
    wait_until_free(control, 2)
    options = {"num_inference_steps": 30, "latent_parallelism": "off"}
    jobs = [fleet.wait(job) for job in [fleet.submit(seed=seed, **options) for seed in range(2)]]
    by = [next(span["worker"] for span in job["timeline"] if span["name"] == "encoder") for job in jobs]
    assert {name.split("@")[0] for name in by} == {"unet1", "unet2"}


def test_a_job_reserved_for_a_worker_that_is_killed_runs_on_another(
    fleet: Client, control: Redis, second: "subprocess.Popen[bytes]"
) -> None:
    # Given two free workers, one of which is stopped before a job is reserved for it
    names = wait_until_free(control, 2)
    [name] = [name for name in names if name.startswith("unet2@")]
    second.send_signal(signal.SIGSTOP)
    try:
        jobs = [fleet.submit(seed=seed) for seed in range(2)]
    finally:
        # When it is killed, while the message is in its queue or already received
        second.kill()
        second.wait()
    # Then the other one runs both
    ended = [fleet.wait(job) for job in jobs]
    assert [job["status"] for job in ended] == ["succeeded"] * 2
    workers = {span["worker"].split("@")[0] for job in ended for span in job["timeline"]}
    assert workers - {"queue"} == {"unet1"}
    assert control.llen(worker_queue("emoji-sd", name)) == 0
