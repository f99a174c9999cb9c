"""Checkpoints are stored one at a time, beside the loop, and only the newest waits."""

import threading

import pytest
import torch
from redis import Redis

from shared.jobs.receipt import WorkerReceipt
from shared.settings import Settings
from tests.fake_device import FakeDevice
from workers.unet.checkpoints.checkpoint import Basis, Checkpoint, CheckpointCopy, StepsSoFar
from workers.unet.checkpoints.loop_state import LoopState
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.checkpoints.writer import CheckpointWriter

WORKER = WorkerReceipt(device="cpu", threads=1, dtype="float32", versions={})
BASIS = Basis(worker=WORKER, model_sha256="", request="")


class SlowStore(CheckpointStore):
    """Stores when the test says so."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        super().__init__(redis, settings)
        self.steps: list[int] = []
        self.has_begun = threading.Event()
        self.may_store = threading.Event()

    def put(self, job_id: str, ordinal: int, frame: bytes) -> bool:
        self.has_begun.set()
        assert self.may_store.wait(30)
        self.steps.append(Checkpoint(frame).header.step)
        return super().put(job_id, ordinal, frame)


@pytest.fixture
def store(residual: Redis, servers: Settings) -> SlowStore:
    residual.flushall()
    store = SlowStore(residual, servers)
    store.delete("job")  # over a new connection, where another test has ended the one before
    return store


def copy(step: int, value: float = 0.0, device: FakeDevice | None = None) -> CheckpointCopy:
    state = LoopState(step, torch.full((1, 4), value), {}, [])
    return CheckpointCopy(state, BASIS, StepsSoFar(), device or FakeDevice())


def test_a_newer_checkpoint_replaces_one_that_waits(store: SlowStore) -> None:
    writer = CheckpointWriter(store, "job", 1)
    # Given one that is being stored
    writer.put(copy(1), 0.0)
    assert store.has_begun.wait(30)
    # When two more come, which the loop does not wait for
    writer.put(copy(2), 0.0)
    writer.put(copy(3), 0.0)
    assert writer.is_busy
    # Then the newest one is stored next
    store.may_store.set()
    assert writer.wait_for(3, 30)
    assert store.steps == [1, 3]
    frame = store.take("job", 1)
    assert frame is not None
    assert Checkpoint(frame).header.step == 3


def test_what_waits_is_dropped_when_the_job_is_over(store: SlowStore) -> None:
    writer = CheckpointWriter(store, "job", 1)
    writer.put(copy(1), 0.0)
    assert store.has_begun.wait(30)
    writer.put(copy(2), 0.0)
    writer.cancel()
    store.may_store.set()
    assert not writer.wait_for(2, 30)
    assert store.steps == [1]


def test_latents_that_are_not_finite_are_not_stored(store: SlowStore) -> None:
    store.may_store.set()
    writer = CheckpointWriter(store, "job", 1)
    writer.put(copy(1), 0.0)
    assert writer.wait_for(1, 30)
    writer.put(copy(2, float("nan")), 0.0)
    assert not writer.wait_for(2, 30)
    assert store.steps == [1]


def test_the_time_to_wait_begins_once_the_device_has_done_its_steps(store: SlowStore) -> None:
    writer, device = CheckpointWriter(store, "job", 1), FakeDevice()
    # Given a checkpoint that is being stored, and steps that were submitted since
    writer.put(copy(1), 0.0)
    assert store.has_begun.wait(30)
    writer.put(copy(2, device=device), 0.0)
    submitted = device.record()
    # When the loop waits for no time at all, then it waits for the copies all the same
    assert not writer.wait_for(2, 0.0)
    assert device.done == submitted.number - 1
    store.may_store.set()
    assert writer.wait_for(2, 30)
