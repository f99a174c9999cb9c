"""Real processes, killed at any moment: every event arrives, and repeats have the id of the first."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException

import psutil
import pytest
from redis import Redis

from infra.local.environment import inherit, variables_of
from shared import keys
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.settings import ROOT, Settings
from shared.webhooks.endpoint import EVENTS, JobWebhook
from shared.webhooks.endpoint_store import EndpointStore
from tests.api.gunicorn_server import call, environment, serving
from tests.shared.jobs.records import spec
from tests.workers.webhooks.receiver import Received, Receiver, status

#: The lease of a delivery is four of these: so long a killed dispatcher's rests.
TIMEOUT_S = 0.5
JOBS = 40


@pytest.fixture
def settings(control: Redis, servers: Settings) -> Settings:
    control.flushdb()
    return servers.model_copy(
        update={"webhook_timeout_s": TIMEOUT_S, "webhook_private_targets": ("127.0.0.1",)}
    )


class Dispatchers:
    """Starts a dispatcher in place of one that was killed."""

    def __init__(self, settings: Settings) -> None:
        self._environment = inherit(variables_of(settings))
        self._lock = threading.Lock()
        self.process = self._start()

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        with self._lock:
            self.process.send_signal(sig)
            self.process.wait(60)

    def replace(self) -> None:
        self.kill()
        with self._lock:
            self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        words = [sys.executable, "-m", "workers.webhooks"]
        return subprocess.Popen(words, cwd=ROOT, env=self._environment)


@contextmanager
def dispatching(settings: Settings) -> Iterator[Dispatchers]:
    dispatchers = Dispatchers(settings)
    try:
        yield dispatchers
    finally:
        dispatchers.kill()


def end_a_job(jobs: JobStore, url: str) -> str:
    """A job that starts and is cancelled, with a webhook of its own."""
    job_id, _ = jobs.create(spec(), webhook=JobWebhook(url=url, events=list(EVENTS)), tenant=LOCAL)
    attempt = jobs.claim(job_id, "w")
    assert attempt is not None
    attempt.end("cancelled", None, [])
    return job_id


def ids_of(job_id: str) -> set[str]:
    return {f"msg_{job_id}_{what}" for what in ("started", "cancelled")}


def test_a_dispatcher_that_is_killed_before_the_answer_sends_again_with_the_same_id(
    settings: Settings, control: Redis, receiver: Receiver
) -> None:
    jobs, killed = JobStore(control, settings), threading.Event()
    with dispatching(settings) as dispatchers:

        def answer(received: Received, handler: object) -> None:
            if not killed.is_set():
                killed.set()
                dispatchers.replace()
            else:
                status(204)(received, handler)  # type: ignore[arg-type]

        receiver.answer = answer
        job_id = end_a_job(jobs, receiver.url())
        got: list[Received] = []
        while len({one.id for one in got}) < 2 or len(got) < 3:
            got.append(receiver.next())
    assert {one.id for one in got} == ids_of(job_id)
    secret = EndpointStore(control).default("local", 0).secrets[0].value
    assert all(one.verified(secret) for one in got)


def test_an_event_is_not_lost_with_the_dispatcher_that_was_away(
    settings: Settings, control: Redis, receiver: Receiver
) -> None:
    job_id = end_a_job(JobStore(control, settings), receiver.url())
    assert control.xlen(keys.WEBHOOK_EVENTS) == 2
    with dispatching(settings):
        assert {receiver.next().id, receiver.next().id} == ids_of(job_id)


def test_kills_at_random_moments_lose_no_event_and_send_none_without_its_id(
    settings: Settings, control: Redis, receiver: Receiver
) -> None:
    jobs = JobStore(control, settings)
    endpoint = EndpointStore(control).create("local", receiver.url("/all"), EVENTS, description="", now=1.0)
    default = EndpointStore(control).default("local", 0)
    secrets = {"/all": endpoint.secrets[0].value, "/hooks": default.secrets[0].value}
    got: Counter[tuple[str, str]] = Counter()
    wanted: set[tuple[str, str]] = set()
    with dispatching(settings) as dispatchers:
        for round in range(4):
            for _ in range(10):
                job_id = end_a_job(jobs, receiver.url())
                wanted |= {(path, one) for path in secrets for one in ids_of(job_id)}
            # In the middle of what it sends: as many requests later as no other round.
            for _ in range(3 + 7 * round):
                note(got, receiver.next(), secrets)
            dispatchers.replace()
        while set(got) != wanted:
            note(got, receiver.next(), secrets)
    assert set(got) == wanted


def note(got: Counter[tuple[str, str]], received: Received, secrets: dict[str, str]) -> None:
    if len(received.body) < int(received.headers.get("content-length", 0)):
        return  # its sender was killed in the middle of it
    assert received.verified(secrets[received.path])
    got[received.path, received.id] += 1


def test_a_dispatcher_that_is_told_to_stop_finishes_what_it_sends(
    settings: Settings, control: Redis, receiver: Receiver
) -> None:
    settings = settings.model_copy(update={"webhook_timeout_s": 30.0})  # an answer may be late: no second try
    told = threading.Event()
    with dispatching(settings) as dispatchers:

        def answer(received: Received, handler: object) -> None:
            if not told.is_set():
                os.kill(dispatchers.process.pid, signal.SIGTERM)
                told.set()
            status(204)(received, handler)  # type: ignore[arg-type]

        receiver.answer = answer
        job_id, _ = JobStore(control, settings).create(
            spec(), webhook=JobWebhook(url=receiver.url()), tenant=LOCAL
        )
        JobStore(control, settings).cancel(job_id)
        assert dispatchers.process.wait(60) == 0
    delivery = control.hgetall(keys.webhook_delivery("local", "default", f"msg_{job_id}_cancelled"))
    assert (delivery["status"], delivery["attempts"]) == ("delivered", "1")


def create_several(jobs: JobStore, url: str) -> list[str]:
    webhook = JobWebhook(url=url, events=list(EVENTS))
    return [jobs.create(spec(), webhook=webhook, tenant=LOCAL)[0] for _ in range(JOBS)]


def told_of(control: Redis, job_ids: list[str]) -> set[str]:
    """The ids of the webhooks that these jobs, as they stand, have to have."""
    ids = set()
    for job_id in job_ids:
        record = control.hgetall(keys.job(job_id))
        if record.get("started_at"):
            ids.add(f"msg_{job_id}_started")
        if record["status"] == "cancelled":
            ids.add(f"msg_{job_id}_cancelled")
    return ids


def receive(settings: Settings, receiver: Receiver, count: int) -> set[str]:
    """The ids of the first webhooks that a dispatcher sends."""
    with dispatching(settings):
        return {receiver.next().id for _ in range(count)}


def test_what_api_processes_wrote_before_they_were_killed_is_told(
    settings: Settings, control: Redis, receiver: Receiver
) -> None:
    jobs, job_ids, wanted = JobStore(control, settings), list[str](), set[str]()
    for answers in (0, 7):
        asked_for = create_several(jobs, receiver.url())
        cancel_until_killed(settings, asked_for, answers)
        job_ids += asked_for
        assert answers <= len(told_of(control, asked_for))
        wanted = told_of(control, job_ids)
        assert control.xlen(keys.WEBHOOK_EVENTS) == len(wanted)
    assert receive(settings, receiver, len(wanted)) == wanted


def cancel_until_killed(settings: Settings, job_ids: list[str], answers: int) -> None:
    """Ask an API to cancel all jobs, and kill its processes after so many answers."""
    with serving(environment(settings)) as (port, pid), ThreadPoolExecutor(8) as clients:

        def cancel(job_id: str) -> None:
            with suppress(OSError, HTTPException):  # it was killed meanwhile
                call(port, "POST", f"/v1/jobs/{job_id}/cancel")

        asked = [clients.submit(cancel, job_id) for job_id in job_ids]
        for one in asked[:answers]:
            one.result()
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            process.kill()


def test_what_workers_wrote_before_they_were_killed_is_told(
    settings: Settings, control: Redis, receiver: Receiver
) -> None:
    jobs, job_ids, wanted = JobStore(control, settings), list[str](), set[str]()
    environ = {**inherit(variables_of(settings)), "PYTHONPATH": str(ROOT)}
    for ended in (1, 5, 20):
        given = create_several(jobs, receiver.url())
        words = [sys.executable, "-m", "tests.workers.webhooks.ending_jobs", *given]
        with subprocess.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            for _ in range(ended):
                assert worker.stdout.readline()
            worker.kill()
        job_ids += given
        assert len(told_of(control, given)) >= 2 * ended
        wanted = told_of(control, job_ids)
        assert control.xlen(keys.WEBHOOK_EVENTS) == len(wanted)
    assert receive(settings, receiver, len(wanted)) == wanted
