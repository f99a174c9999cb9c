"""A real Celery worker, against what anyone who reaches the broker can send it."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from shared.jobs.spec import JobSpec, LoraLoading
from shared.jobs.store import JobStore
from shared.keys import LOCAL
from shared.messaging.celery_app import GENERATE, make_celery, unet_queue
from shared.messaging.messages import GenerateJob
from shared.redis_clients import control_redis
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.job_messages import send_job

DONE, STATE, PROBLEMS = "test:done", "test:state", "test:problems"
NAME, QUEUE = "echo@test", unet_queue("m")
OWN = f"{QUEUE}@{NAME}"
APP = "tests.workers.runtime.celery_worker.echo_worker"
FANOUT = "/0.celery.pidbox"


class Worker:
    """The process, and what it has done."""

    def __init__(self, settings: Settings, control: Redis, log: Path) -> None:
        environment = {
            **os.environ,
            "SWIFT_REDIS_URL": settings.redis_url,
            "SWIFT_RESIDUAL_REDIS_URL": settings.residual_redis_url[0],
        }
        options = ["worker", "-n", NAME, "--pool=threads", "-E", "--without-gossip", "--without-mingle"]
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            APP,
            *options,
        ]
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        self.app = make_celery(settings)
        self.redis = control
        self.jobs = JobStore(control, settings)

    def healthy(self) -> bool:
        return self.redis.get(STATE) == "[]"

    def done(self) -> list[str]:
        return self.redis.lrange(DONE, 0, -1)  # type: ignore[return-value]

    def send(self, job_id: str) -> None:
        send_job(self.app, job_id, "m")

    def command(self, method: str, **arguments: Any) -> None:
        """Send a remote control command, and wait until the worker has taken it."""
        answers = self.app.control.broadcast(method, arguments=arguments, reply=True, limit=1, timeout=30)
        assert answers


@pytest.fixture(scope="module")
def process(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    control = control_redis(servers)
    control.flushdb()
    worker = Worker(servers, control, tmp_path_factory.mktemp("worker") / "log")
    try:
        eventually(lambda: worker.healthy() or worker.process.poll() is not None, 150)
        assert worker.process.poll() is None, worker.log.read_text()
        yield worker
    finally:
        worker.process.terminate()
        worker.process.wait(timeout=60)


@pytest.fixture
def worker(process: Worker) -> Iterator[Worker]:
    process.redis.delete(DONE, PROBLEMS)
    yield process
    assert process.process.poll() is None, process.log.read_text()
    eventually(process.healthy, 30)


def message(body: Any, **changes: Any) -> dict[str, Any]:
    """A message as kombu puts it into a list; ``changes`` are of its headers."""
    text = body if isinstance(body, str) else json.dumps(body)
    headers = {"lang": "py", "task": GENERATE, "id": "1" * 16, "retries": 0, **changes}
    return {
        "body": base64.b64encode(text.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {name: value for name, value in headers.items() if value is not ...},
        "properties": {
            "delivery_tag": "tag",
            "delivery_info": {"exchange": QUEUE, "routing_key": QUEUE},
            "body_encoding": "base64",
            "priority": 0,
        },
    }


GOOD = [[GenerateJob(job_id="d" * 16).model_dump()], {}, {}]


def without(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != name}


def properties(**changes: Any) -> dict[str, Any]:
    whole = message(GOOD)
    changed = {**whole["properties"], **changes}
    return {**whole, "properties": {name: value for name, value in changed.items() if value is not ...}}


MALFORMED: dict[str, Any] = {
    "no text": b"\xff\xfe\x00",
    "empty": "",
    "no JSON": "garbage",
    "deep": "[" * 200_000,
    "a number": "7",
    "null": "null",
    "a list": "[1, 2]",
    "an empty object": "{}",
    "huge": "x" * 20_000_000,
    "no body": without("body", message(GOOD)),
    "body is no text": {**message(GOOD), "body": [1]},
    "body is no base64": {**message(GOOD), "body": "!"},
    "no headers": without("headers", message(GOOD)),
    "headers are null": {**message(GOOD), "headers": None},
    "headers are a list": {**message(GOOD), "headers": [GENERATE]},
    "no properties": without("properties", message(GOOD)),
    "no delivery tag": properties(delivery_tag=...),
    "delivery tag is null": properties(delivery_tag=None),
    "delivery tag is an object": properties(delivery_tag={}),
    "no delivery info": properties(delivery_info=...),
    "delivery info is empty": properties(delivery_info={}),
    "an unknown body encoding": properties(body_encoding="rot13"),
    "pickle": {**message(GOOD), "content-type": "application/x-python-serialize"},
    "an unknown content type": {**message(GOOD), "content-type": "text/html"},
    "no content type": without("content-type", message(GOOD)),
    "compressed": message(GOOD, compression="zlib"),
    "an unknown task": message(GOOD, task="no.such.task"),
    "a task of Celery's own": message([[[1]], {}, {}], task="celery.chunks"),
    "task is an object": message(GOOD, task={}),
    "no task": message(GOOD, task=...),
    "no id": message(GOOD, id=...),
    "id is a number": message(GOOD, id=7),
    "retries is a text": message(GOOD, retries="x"),
    "a wrong eta": message(GOOD, eta="tomorrow"),
    "a wrong expiry": message(GOOD, expires={}),
    "payload is no JSON": message("garbage"),
    "payload is an object": message({"a": 1}),
    "payload is short": message([[]]),
    "no arguments": message([[], {}, {}]),
    "arguments are an object": message([{}, {}, {}]),
    "keyword arguments": message([GOOD[0], {"x": 1}, {}]),
    "keyword arguments are a list": message([GOOD[0], [], {}]),
    "embedded is a list": message([GOOD[0], {}, [1]]),
    "callbacks": message([GOOD[0], {}, {"callbacks": [{"task": GENERATE}]}]),
    "an unknown field": message([[{"job_id": "0" * 16, "x": 1}], {}, {}]),
    "no id of a job": message([[{"job_id": "swift:*"}], {}, {}]),
}


def test_whatever_lies_in_a_queue_is_dropped_and_nothing_else(worker: Worker) -> None:
    # Given a queue of messages that nobody here has sent, one of ours after each
    wanted, said_before = [], len(worker.log.read_text())
    for i, found in enumerate(MALFORMED.values()):
        value = found if isinstance(found, str | bytes) else json.dumps(found)
        worker.redis.lpush(QUEUE if i % 2 else OWN, value)
        wanted.append(f"{i:016x}")
        worker.send(wanted[-1])
    # When the worker takes them, then ours arrive, and nothing holds a slot or lies about
    eventually(lambda: len(worker.done()) >= len(wanted), 60)
    assert sorted(worker.done()) == wanted
    eventually(lambda: not worker.redis.hlen("unacked"))
    words = ("malformed message dropped", "ignored and discarded", "Can't decode", "deleted unknown message")

    def dropped() -> int:
        said = worker.log.read_text()[said_before:]
        return sum(said.count(word) for word in words)

    eventually(lambda: dropped() >= len(MALFORMED))
    assert dropped() == len(MALFORMED)
    said = worker.log.read_text()
    assert all(line.isprintable() for line in said.splitlines() if line.startswith("time="))


@pytest.mark.parametrize(
    "found",
    [
        "garbage", "[" * 200_000, "7", "null", "{}", json.dumps(without("headers", message({}))),
        json.dumps(message("garbage")), json.dumps(message([1])), json.dumps(message({"method": "nothing"})),
        json.dumps(message({"method": 7})), json.dumps(message({"method": "revoke", "arguments": 7})),
        json.dumps(message({"method": "ping", "reply_to": 7})), json.dumps(message({"destination": 7})),
    ],
)  # fmt: skip
def test_whatever_comes_by_the_control_channel_is_dropped(found: str, worker: Worker) -> None:
    worker.redis.publish(FANOUT, found)
    worker.command("ping")
    worker.send("a" * 16)
    eventually(lambda: worker.done() == ["a" * 16])


def test_unacknowledged_messages_that_cannot_be_read_keep_no_other_from_its_queue(worker: Worker) -> None:
    worker.redis.hset(
        "unacked", mapping={"bad": "garbage", "good": json.dumps([message(GOOD), QUEUE, QUEUE])}
    )
    worker.redis.zadd("unacked_index", {"bad": 2, "good": 1})
    eventually(lambda: worker.done() == ["d" * 16], 30)
    assert worker.redis.hmget("unacked", ["bad", "good"]) == [None, None]
    assert worker.redis.zmscore("unacked_index", ["bad", "good"]) == [None, None]


def spec(prompt: str = "") -> JobSpec:
    return JobSpec(
        model="m", prompt=prompt, negative_prompt="", width=64, height=64, num_inference_steps=2,
        guidance_scale=1, scheduler="ddim", seed=0, num_images=1, controlnets=[], loras=[],
        lora_loading=LoraLoading(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("cancel_consumer", {"queue": QUEUE}),
        ("cancel_consumer", {"queue": OWN}),
        ("add_consumer", {"queue": "unet.other"}),
        ("rate_limit", {"task_name": GENERATE, "rate_limit": "1/h"}),
    ],
)
def test_a_worker_that_is_told_not_to_work_says_so_and_works_again(
    method: str, arguments: dict[str, Any], worker: Worker
) -> None:
    worker.command(method, **arguments)
    told = eventually(lambda: worker.redis.lrange(PROBLEMS, 0, -1))
    assert next(iter(arguments.values())) in told[0]
    eventually(worker.healthy)
    for i in range(3):
        worker.send(f"{i:016x}")
    eventually(lambda: len(worker.done()) == 3)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("pool_shrink", {"n": 1}),
        ("pool_grow", {"n": 1}),
        ("pool_restart", {}),
        ("autoscale", {"max": 0, "min": 0}),
        ("time_limit", {"task_name": GENERATE, "soft": 0.001, "hard": 0.001}),
        ("disable_events", {}),
    ],
)
def test_other_commands_change_nothing(method: str, arguments: dict[str, Any], worker: Worker) -> None:
    worker.command(method, **arguments)
    worker.send("b" * 16)
    eventually(lambda: worker.done() == ["b" * 16])


def job(worker: Worker, prompt: str) -> str:
    job_id, _ = worker.jobs.create(spec(prompt), tenant=LOCAL)
    return job_id


@pytest.fixture
def events(worker: Worker) -> Iterator[Callable[[str], list[str]]]:
    """What Flower hears of a task, by its id: types of events in their order."""
    heard: list[tuple[str, str]] = []
    is_over, is_ready = threading.Event(), threading.Event()

    def listen() -> None:
        handlers = {"*": lambda event: heard.append((event.get("uuid", ""), event["type"]))}
        with worker.app.connection_for_read() as connection:
            receiver = worker.app.events.Receiver(connection, handlers=handlers)
            with receiver.consumer_context(wakeup=False) as (own, _, _):
                is_ready.set()
                while not is_over.is_set():
                    with contextlib.suppress(TimeoutError):
                        own.drain_events(timeout=0.1)

    thread = threading.Thread(target=listen)
    thread.start()
    assert is_ready.wait(30)
    yield lambda job_id: [kind for uuid, kind in heard if uuid == job_id]
    is_over.set()
    thread.join()


Events = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("prompt", "end"), [("", "task-succeeded"), ("fail", "task-failed"), ("requeue", "task-retried")]
)
def test_a_task_ends_in_flower_as_its_job_did(prompt: str, end: str, worker: Worker, events: Events) -> None:
    job_id = job(worker, prompt)
    worker.send(job_id)
    eventually(lambda: end in events(job_id))
    if prompt == "requeue":  # until its attempts are used up
        eventually(lambda: "task-failed" in events(job_id))
        assert worker.jobs.get(job_id).status == "failed"
        assert events(job_id).count("task-retried") == 3
    assert ("task-succeeded" in events(job_id)) == (prompt == "")


def test_a_job_that_failed_leaves_one_line_in_the_log_and_no_traceback(worker: Worker) -> None:
    before = len(worker.log.read_text())
    job_id = job(worker, "fail")
    worker.send(job_id)
    lines = eventually(lambda: [x for x in worker.log.read_text()[before:].splitlines() if "no LoRA" in x])
    assert len(lines) == 1
    assert "traceback" not in lines[0]


def test_a_cancelled_job_is_a_revoked_task(worker: Worker, events: Events) -> None:
    job_id = job(worker, "wait")
    worker.send(job_id)
    eventually(lambda: worker.jobs.get(job_id).status == "running")
    worker.jobs.cancel(job_id)
    eventually(lambda: "task-revoked" in events(job_id))
    assert "task-succeeded" not in events(job_id)


def test_a_second_message_of_a_job_that_has_failed_does_not_succeed(worker: Worker, events: Events) -> None:
    job_id = job(worker, "fail")
    worker.send(job_id)
    eventually(lambda: "task-failed" in events(job_id))
    worker.send(job_id)
    eventually(lambda: events(job_id).count("task-failed") == 2)


@pytest.mark.parametrize("terminate", [False, True])
def test_a_running_job_that_is_revoked_stops_at_its_next_step(
    terminate: bool, worker: Worker, events: Events
) -> None:
    job_id = job(worker, "wait")
    worker.send(job_id)
    eventually(lambda: worker.jobs.get(job_id).status == "running")
    worker.app.control.revoke(job_id, terminate=terminate, signal="SIGKILL")
    eventually(lambda: worker.jobs.get(job_id).status == "cancelled")
    eventually(lambda: "task-revoked" in events(job_id))


def test_a_queued_job_that_is_revoked_is_cancelled_and_its_message_is_gone(
    worker: Worker, events: Events
) -> None:
    # Given two jobs behind one that runs
    running, queued, other = (job(worker, prompt) for prompt in ("wait", "", ""))
    for job_id in (running, queued, other):
        worker.send(job_id)
    eventually(lambda: worker.jobs.get(running).status == "running")
    # When one of them is revoked, then it is cancelled at once, and the other is not touched
    worker.app.control.revoke(queued)
    eventually(lambda: worker.jobs.get(queued).status == "cancelled")
    eventually(lambda: "task-revoked" in events(queued))
    assert all(queued not in text for text in worker.redis.lrange(QUEUE, 0, -1))
    worker.app.control.terminate(running, signal="SIGTERM")
    eventually(lambda: worker.done() == [running, other])
    assert worker.jobs.orphans(unsent_after_s=0) == []


def test_a_revoked_task_that_is_no_job_harms_nobody(worker: Worker) -> None:
    worker.app.control.revoke(["no-job", "f" * 16])
    worker.send("c" * 16)
    eventually(lambda: worker.done() == ["c" * 16])
