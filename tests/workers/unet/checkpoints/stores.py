"""Checkpoint stores for tests: one after each step, and one that says what it has stored."""

import threading

from workers.unet.checkpoints.checkpoint import Checkpoint
from workers.unet.checkpoints.interval import CheckpointCosts
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.worker import UNetWorker


class EveryStep(CheckpointCosts):
    """A checkpoint after each step, whatever it costs."""

    @property
    def interval_s(self) -> float:
        return 0.0


class RecordingStore(CheckpointStore):
    """Knows which checkpoints were stored, and waits for them."""

    def __init__(self, worker: UNetWorker) -> None:
        super().__init__(worker.residual, worker.settings)
        self.costs = EveryStep(1.0)
        self.steps: list[int] = []
        self._expected = 0
        self._changed = threading.Condition()

    def expect(self, job_id: str) -> None:
        super().expect(job_id)
        self._expected += 1

    def put(self, job_id: str, ordinal: int, frame: bytes) -> bool:
        assert super().put(job_id, ordinal, frame)
        with self._changed:
            self.steps.append(Checkpoint(frame).header.step)
            self._changed.notify_all()
        return True

    def take(self, job_id: str, ordinal: int) -> bytes | None:
        frame = super().take(job_id, ordinal)
        self._expected -= 1  # that was no checkpoint of this attempt
        return frame

    def settle(self) -> None:
        """Wait until everything is stored."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.steps) == self._expected, 30)
