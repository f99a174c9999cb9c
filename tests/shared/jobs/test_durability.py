"""An accepted job is on disk before it is answered, where the control Redis can say so."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from infra.bench.harness.ports import free_ports
from infra.local.servers import redis_command, running_process, wait_for_redis
from shared import keys
from shared.errors import InvalidSetting, NotFound, Unavailable
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.redis_clients import control_redis
from shared.settings import Settings
from shared.webhooks.endpoint import JobWebhook
from tests.conftest import READY_S
from tests.shared.jobs.records import spec


class Server:
    """A control Redis of the test's own, which may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        [self.port] = free_ports(1)
        self.folder, self.running = folder, ExitStack()
        self.settings = Settings(redis_url=f"redis://127.0.0.1:{self.port}/0")

    def start(self, *options: str) -> Redis:
        command = [*redis_command(self.port, self.folder, persistent=True), *options]
        self.process = self.running.enter_context(
            running_process(command, cwd=self.folder, env={}, log=self.folder / "log")
        )
        wait_for_redis(self.settings.redis_url, READY_S)
        return control_redis(self.settings)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    with server.running:
        yield server


def test_an_accepted_job_survives_a_kill_right_after(server: Server) -> None:
    jobs = JobStore(server.start(), server.settings.model_copy(update={"durable_submit": "on"}))
    assert jobs.durability.probe()
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    server.kill()
    server.start()
    assert jobs.get(job_id).status == "queued"


def test_what_is_left_of_a_cut_log_is_whole(server: Server) -> None:
    # Given forty accepted jobs, and a log of which the end was cut off in the middle of a write
    jobs = JobStore(server.start(), server.settings)
    ids = [jobs.create(spec(), tenant=LOCAL)[0] for _ in range(40)]
    for job_id in ids[::3]:
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        attempt.advance(1, 4)
    server.kill()
    [log] = server.folder.glob("appendonlydir/*.incr.aof")
    log.write_bytes(log.read_bytes()[: -log.stat().st_size // 3 - 7])
    server.start()
    # Then every job that is left is whole, listed, and runs; none of the others is listed
    left = [job_id for job_id in ids if jobs.redis.exists(keys.job(job_id))]
    assert 0 < len(left) < len(ids)
    assert {job.id for job in jobs.page(limit=100)[0]} == set(left)
    jobs.redis.hset(keys.SERVER, "since", 0)
    for job_id in jobs.redis.zrange(keys.by_status("running"), 0, -1):
        jobs.redis.delete(keys.lease(str(job_id)))
    assert set(jobs.orphans(unsent_after_s=0)) == set(left)
    for job_id in left:
        attempt = jobs.claim(job_id, "w")
        assert attempt is not None
        attempt.end("failed", None, [])


@pytest.mark.parametrize("lacks", ["an append-only file", "the command"])
def test_a_server_that_cannot_is_refused_if_it_must_and_used_otherwise(lacks: str, server: Server) -> None:
    options = {
        "an append-only file": ["--appendonly", "no"],
        "the command": ["--rename-command", "WAITAOF", ""],
    }
    control = server.start(*options[lacks])
    for mode in ("auto", "off"):
        jobs = JobStore(control, server.settings.model_copy(update={"durable_submit": mode}))
        assert not jobs.durability.probe()
        assert jobs.get(jobs.create(spec(), tenant=LOCAL)[0]).status == "queued"
    strict = JobStore(control, server.settings.model_copy(update={"durable_submit": "on"}))
    with pytest.raises(InvalidSetting, match="SWIFT_DURABLE_SUBMIT"):
        strict.durability.probe()


def test_a_server_that_stops_to_write_its_log_is_noticed_at_the_next_job(server: Server) -> None:
    control = server.start()
    jobs = JobStore(control, server.settings)
    assert jobs.durability.probe()
    control.config_set("appendonly", "no")
    assert jobs.get(jobs.create(spec(), tenant=LOCAL)[0]).status == "queued"


def test_a_job_that_the_disk_does_not_take_is_refused_and_not_kept(
    control: Redis, servers: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = JobStore(control, servers)
    execute, ids = jobs.durability.execute, []

    def execute_and_refuse(pipe: Any) -> Any:
        ids.append(execute(pipe)[0])
        raise Unavailable("the disk of the control Redis does not take the job right now")

    monkeypatch.setattr(jobs.durability, "execute", execute_and_refuse)
    with pytest.raises(Unavailable):
        jobs.create(spec(), webhook=JobWebhook(url="https://example.com/"), tenant=LOCAL)
    [refused] = ids
    with pytest.raises(NotFound):
        jobs.get(refused)
    assert refused not in jobs.orphans(unsent_after_s=0)
    assert refused not in str(control.xrange(keys.WEBHOOK_EVENTS))  # nobody is told of it


def test_a_submission_whose_answer_was_lost_is_one_job(control: Redis, servers: Settings) -> None:
    """The connection retries what it got no answer to: the same job, not a second one."""
    jobs = JobStore(control, servers)
    job_id, _ = jobs.create(spec(), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    fields = {"id": job_id, "spec": spec(prompt="other").model_dump_json()}
    jobs.script("create", job_id, "", keys.LOCAL, 0, fields=fields)
    job = jobs.get(job_id)
    assert (job.status, job.spec.prompt) == ("running", "a cat")
