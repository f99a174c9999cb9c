"""Stores the checkpoints of one attempt in a thread of its own, one at a time."""

import logging
import threading
import time

from workers.unet.checkpoints.checkpoint import CheckpointCopy
from workers.unet.checkpoints.store import CheckpointStore

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Waits for copies, packs and stores them; a newer one replaces one that has not begun."""

    def __init__(self, store: CheckpointStore, job_id: str, ordinal: int) -> None:
        self._store, self._job_id, self._ordinal = store, job_id, ordinal
        self._waiting: tuple[CheckpointCopy, float] | None = None
        self._newest: CheckpointCopy | None = None  # until it is stored
        self._is_busy = False
        self._stored_step: int | None = None
        self._changed = threading.Condition()

    @property
    def is_busy(self) -> bool:
        """Whether one is being stored, so that another would only wait."""
        return self._is_busy

    def put(self, copy: CheckpointCopy, loop_s: float) -> None:
        """Store a checkpoint, which took the loop ``loop_s`` to make; returns at once."""
        with self._changed:
            self._waiting = copy, loop_s
            self._newest = copy
            if not self._is_busy:
                self._is_busy = True
                threading.Thread(target=self._run, name="checkpoint", daemon=True).start()

    def wait_for(self, step: int, timeout_s: float) -> bool:
        """Wait until the checkpoint before ``step`` is stored; returns whether it is.

        ``timeout_s`` begins once the device has done the steps that were submitted to it.
        """
        newest = self._newest
        if newest is not None:
            newest.wait()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy, timeout_s)
            return self._stored_step == step

    def cancel(self) -> None:
        """Store nothing more than what is being stored."""
        with self._changed:
            self._waiting = None

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            copy, loop_s = taken
            try:
                self._write(copy, loop_s)
            except Exception:  # whatever it is, the job goes on
                log.exception("checkpoint not stored", extra={"step": copy.step})

    def _next(self) -> tuple[CheckpointCopy, float] | None:
        with self._changed:
            taken, self._waiting = self._waiting, None
            if taken is None:
                self._newest = None
                self._is_busy = False
                self._changed.notify_all()
            return taken

    def _write(self, copy: CheckpointCopy, loop_s: float) -> None:
        start_s = time.thread_time()
        # What a job continues from is finite, so that the first step which is not is still found.
        if copy.is_finite() and self._store.put(self._job_id, self._ordinal, copy.pack()):
            self._stored_step = copy.step
        self._store.costs.record(loop_s, time.thread_time() - start_s)
