import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.errors import DeviceLost
from tests.infra.local.waiting import eventually
from workers.unet.process import device_turns
from workers.unet.process.device_turns import DeviceTurns


class Worker:
    """What turns tell it: the jobs it is busy with, and how many messages it may hold."""

    def __init__(self) -> None:
        self.busy: list[str] = []
        self.held: list[int] = []
        self.lost = False
        self.jobs_wait = False
        self.held_before_next: list[list[int]] = []
        self.turns = DeviceTurns(
            self.busy_with,
            self.check,
            jobs_wait=lambda: self.jobs_wait,
            before_next=lambda: self.held_before_next.append(list(self.held)),
        )
        self.turns.limit_messages(self.held.append)

    @contextmanager
    def busy_with(self, job_id: str) -> Iterator[None]:
        self.busy.append(job_id)
        try:
            yield
        finally:
            self.busy.remove(job_id)

    def check(self) -> None:
        if self.lost:
            raise DeviceLost("it is lost")


class Job:
    """A job in a thread of its own, as far as the test lets it go."""

    def __init__(self, worker: Worker, job_id: str) -> None:
        self._worker, self._job_id = worker, job_id
        self.computes, self.has_computed = threading.Event(), threading.Event()
        self.stores, self.has_stored = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._worker.turns.take(self._job_id) as leave:
            self.computes.set()
            self.has_computed.wait()
            leave()
            self.stores.set()
            self.has_stored.wait()

    def end(self) -> None:
        self.has_computed.set()
        self.has_stored.set()
        self._thread.join()


def test_a_job_computes_while_the_images_of_the_one_before_are_stored() -> None:
    worker = Worker()
    first = Job(worker, "first")
    assert first.computes.wait(30)
    assert (worker.busy, worker.held) == (["first"], [1])
    first.has_computed.set()
    assert first.stores.wait(30)
    assert worker.held_before_next == [[1]]  # what the next message is was asked for before it is taken
    # While it stores, the worker is free, and takes another message
    assert (worker.busy, worker.held, worker.turns.storing()) == ([], [1, 2], ["first"])
    second = Job(worker, "second")
    assert second.computes.wait(30)
    assert worker.busy == ["second"]
    first.end()
    eventually(lambda: worker.held == [1, 2, 1])
    assert worker.turns.storing() == []
    second.end()
    assert (worker.busy, worker.held) == ([], [1, 2, 1, 2, 1])


def test_two_jobs_never_compute_at_once() -> None:
    worker = Worker()
    first = Job(worker, "first")
    assert first.computes.wait(30)
    second = Job(worker, "second")
    eventually(lambda: worker.busy == ["first", "second"])
    assert not second.computes.is_set()
    first.has_computed.set()
    assert second.computes.wait(30)
    first.end()
    second.end()


def test_a_job_keeps_the_device_while_two_are_not_stored() -> None:
    worker = Worker()
    first = Job(worker, "first")
    first.has_computed.set()
    assert first.stores.wait(30)
    second = Job(worker, "second")
    second.has_computed.set()
    assert second.computes.wait(30)
    third = Job(worker, "third")
    assert (second.stores.is_set(), third.computes.is_set()) == (False, False)
    first.end()
    assert second.stores.wait(30)
    assert third.computes.wait(30)
    second.end()
    third.end()


def test_a_job_that_fails_before_it_leaves_gives_the_device_back() -> None:
    worker = Worker()
    with pytest.raises(ValueError, match="a bug"), worker.turns.take("first"):
        raise ValueError("a bug")
    assert (worker.busy, worker.held) == ([], [1])
    second = Job(worker, "second")
    assert second.computes.wait(30)
    second.end()


def test_a_job_that_fails_while_it_stores_makes_room_for_the_next_one() -> None:
    worker = Worker()
    with pytest.raises(ValueError, match="S3"):
        fail_to_store(worker)
    assert (worker.busy, worker.held, worker.turns.storing()) == ([], [1, 2, 1], [])


def fail_to_store(worker: Worker) -> None:
    with worker.turns.take("first") as leave:
        leave()
        raise ValueError("S3")


def test_no_job_begins_on_a_lost_device() -> None:
    worker = Worker()
    worker.lost = True
    with pytest.raises(DeviceLost), worker.turns.take("first"):
        raise AssertionError
    assert worker.busy == []


def test_a_step_is_served_while_no_job_waits_and_a_job_waits_for_that_step_alone() -> None:
    worker, interrupts = Worker(), list[str]()
    worker.turns.on_job(lambda: interrupts.append("job"))
    with worker.turns.step() as may_serve:
        assert may_serve
        job = Job(worker, "job")
        eventually(lambda: worker.busy == ["job"])
        assert (job.computes.is_set(), interrupts) == (False, ["job"])
        assert not worker.turns.wait(0.0)
    # Once the step has ended the job computes, and no step is served
    assert job.computes.wait(30)
    with worker.turns.step() as may_serve:
        assert not may_serve
    # While its images are stored, steps are served again
    job.has_computed.set()
    assert job.stores.wait(30)
    assert worker.turns.wait(30)
    with worker.turns.step() as may_serve:
        assert may_serve
    job.end()


def test_steps_wait_for_each_other_and_give_way_to_a_job_that_comes_meanwhile() -> None:
    worker, allowed = Worker(), list[bool]()

    def serve() -> None:
        with worker.turns.step() as may_serve:
            allowed.append(may_serve)

    with worker.turns.step():
        second = threading.Thread(target=serve)
        second.start()
        second.join(0.05)
        assert (second.is_alive(), allowed) == (True, [])
        job = Job(worker, "job")
        second.join(30)
        assert allowed == [False]
    assert job.computes.wait(30)
    job.end()


def test_a_step_that_fails_gives_the_device_back() -> None:
    worker = Worker()
    with pytest.raises(ValueError, match="a bug"), worker.turns.step():
        raise ValueError("a bug")
    job = Job(worker, "job")
    assert job.computes.wait(30)
    job.end()


def test_no_step_comes_between_a_job_and_the_next_one_that_waits_in_a_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_turns, "NEXT_JOB_S", 3600.0)
    worker = Worker()
    worker.jobs_wait = True
    first = Job(worker, "first")
    assert first.computes.wait(30)
    first.end()
    assert not worker.turns.wait(0.0)
    with worker.turns.step() as may_serve:
        assert not may_serve
    # If none comes after a job, as another worker has taken it, steps are served
    monkeypatch.setattr(device_turns, "NEXT_JOB_S", 0.01)
    second = Job(worker, "second")
    assert second.computes.wait(30)
    second.end()
    assert eventually(lambda: worker.turns.wait(1.0))
    with worker.turns.step() as may_serve:
        assert may_serve
