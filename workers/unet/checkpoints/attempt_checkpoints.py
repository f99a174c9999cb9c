"""The checkpoints of one attempt: what an earlier attempt has left, and what this one stores."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from shared import metrics
from shared.message_base import StrictMessage, first_reason
from workers.unet.attempt_context import AttemptContext
from workers.unet.checkpoints.checkpoint import Basis, Checkpoint, CheckpointCopy, StepsSoFar
from workers.unet.checkpoints.loop_state import LoopState
from workers.unet.checkpoints.scheduler_state import SchedulerState, UnsupportedState
from workers.unet.checkpoints.writer import CheckpointWriter
from workers.unet.output.receipt import worker_receipt
from workers.unet.timesteps.schedule import Schedule

log = logging.getLogger(__name__)


class Beginning(NamedTuple):
    """Where an attempt begins: at step 0, or where another one was."""

    step: int
    latents: Tensor
    so_far: StepsSoFar  # what the receipt will say of the steps before


class _Position(NamedTuple):
    """Where a loop is between two steps."""

    step: int  # the next one
    latents: Tensor
    so_far: StepsSoFar  # as it was then: a step that is not finished may have noted something already


class AttemptCheckpoints:
    """Used by the loop's thread alone; ``schedule`` is fresh."""

    def __init__(
        self, context: AttemptContext, schedule: Schedule, scheduler_config: Mapping[str, Any]
    ) -> None:
        self._context = context
        self._store = context.worker.checkpoints
        self._is_on = self._store.costs.are_stored
        self._scheduler = SchedulerState(schedule.scheduler)
        self._total = len(schedule.timesteps)
        self._basis = _basis_of(context, scheduler_config)
        self._writer = CheckpointWriter(self._store, context.job_id, context.ordinal)
        self._newest_s = time.monotonic()
        self._position: _Position | None = None

    def take_over(self, latents: Tensor) -> Beginning:
        """Where this attempt begins; ``latents`` are those of a job's beginning.

        To be called once everything else was sampled from the generators.
        """
        self._newest_s = time.monotonic()
        anew = Beginning(0, latents, StepsSoFar())
        context = self._context
        # A first attempt continues itself where it is tried once more: its device's memory did not suffice.
        if not self._is_on or (context.ordinal == 1 and not self._store.is_expected(context.job_id)):
            return anew
        frame = self._store.take(context.job_id, context.ordinal)
        if frame is None:
            return anew
        try:
            checkpoint = self._checked(Checkpoint(frame))
            state = checkpoint.state(context.worker.device)
            _check_state(state, latents, len(context.generators))
        except ValueError as error:
            log.warning("checkpoint not used: the job begins anew", extra={"error": first_reason(error)})
            return anew
        state.restore(self._scheduler, context.generators)
        metrics.JOBS_CONTINUED.labels(context.spec.model).inc()
        log.info("job continued", extra={"step": state.step})
        before = checkpoint.header.so_far
        so_far = before.model_copy(update={"continued_at": [*before.continued_at, state.step]})
        return Beginning(state.step, state.latents, so_far)

    def after_step(self, step: int, latents: Tensor, so_far: StepsSoFar) -> None:
        """Store the state after ``step`` if it is time; returns at once."""
        self._position = _Position(step + 1, latents, so_far)
        is_due = time.monotonic() - self._newest_s >= self._store.costs.interval_s
        if is_due and step + 1 < self._total and not self._writer.is_busy:
            self._put(self._position)

    @property
    def has_new_steps(self) -> bool:
        """Whether this attempt has computed a step."""
        return self._position is not None

    def store_now(self, timeout_s: float) -> bool:
        """Store the state between two steps and wait for that; returns whether it was stored.

        Nothing is before this attempt's first step: a checkpoint that it has begun with is still there.
        """
        if self._position is None:
            return False
        self._put(self._position)
        return self._writer.wait_for(self._position.step, timeout_s)

    def close(self) -> None:
        """No further step."""
        self._writer.cancel()

    def _put(self, position: _Position) -> None:
        if not self._is_on:
            return
        context = self._context
        start_s = self._newest_s = time.monotonic()
        try:
            state = LoopState.of(position.step, position.latents, self._scheduler, context.generators)
        except UnsupportedState as error:
            self._is_on = False
            log.warning("no checkpoints of this job: its scheduler's state", extra={"error": str(error)})
            return
        copy = CheckpointCopy(state, self._basis, position.so_far, context.worker.device)
        if not self._store.fits(copy.size_bytes):
            self._is_on = False
            metrics.CHECKPOINTS.labels("too_large").inc()
            log.warning("no checkpoints of this job: too large", extra={"bytes": copy.size_bytes})
            return
        self._store.expect(context.job_id)
        self._writer.put(copy, time.monotonic() - start_s)

    def _checked(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint, if it gives the bits of an undisturbed run here; raises `ValueError`."""
        was, now = checkpoint.header.basis, self._basis
        if was != now:
            fields = (*_different(was, now), *_different(was.worker, now.worker))
            raise ValueError(f"this attempt computes otherwise: {', '.join(fields)}")
        if not 0 < checkpoint.header.step < self._total:
            raise ValueError(f"step {checkpoint.header.step} of {self._total}")
        return checkpoint


def _different(was: StrictMessage, now: StrictMessage) -> list[str]:
    return [name for name in type(was).model_fields if getattr(was, name) != getattr(now, name)]


def _basis_of(context: AttemptContext, scheduler_config: Mapping[str, Any]) -> Basis:
    model = context.model
    request = {
        "spec": context.spec.model_dump(mode="json"),
        "scheduler_config": scheduler_config,
        "switches": model.switches,
        "configs": model.configs_sha256,
    }
    text = json.dumps(request, sort_keys=True, default=str)
    return Basis(
        worker=worker_receipt(model, context.engine),
        model_sha256=model.sha256,
        request=hashlib.sha256(text.encode()).hexdigest(),
    )


def _check_state(state: LoopState, latents: Tensor, images: int) -> None:
    """Raise `ValueError` unless it can be that of a loop which begins with ``latents``."""
    if state.latents.shape != latents.shape or state.latents.dtype != latents.dtype:
        raise ValueError("it is of other latents")
    if len(state.generators) != images:
        raise ValueError("it is of another number of images")
    try:
        for generator in state.generators:
            torch.Generator().set_state(generator)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"a generator's state cannot be read: {error}") from None
