"""Reports the steps that the device has done: progress, a preview, and how long each took."""

from functools import partial
from typing import NamedTuple

from torch import Tensor

from shared import metrics
from workers.devices.base import HostCopy
from workers.devices.timer import SpanStart
from workers.unet.attempt_context import AttemptContext
from workers.unet.lease import Lease


class _DoneStep(NamedTuple):
    """A step that the device has done."""

    number: int  # the first is 1
    row: HostCopy  # the latents of the first image, (1, …)


class ProgressReporter:
    """Reports to the lease of one attempt; the loop may be ahead of what it reports."""

    def __init__(self, context: AttemptContext, lease: Lease, total: int) -> None:
        self._lease, self._total = lease, total
        self._times, self._device = context.device_times, context.worker.device
        self._step_s = metrics.STEP_S.labels(context.spec.model)
        self._steps_s = context.timeline.steps_s
        self._preview = context.model.latents.preview
        self._size = context.model.size(context.spec.width, context.spec.height)
        self._newest: _DoneStep | None = None  # that was not reported

    def after_step(self, step: int, start: SpanStart, latents: Tensor) -> None:
        """A step that began at ``start`` has been submitted to the device; these latents come of it."""
        row = self._device.to_host(latents[:1])
        self._times.measure(start, partial(self._note, step, row))

    def report(self) -> None:
        """Report the newest step that is done, unless it was reported."""
        self._times.report_done()
        step, self._newest = self._newest, None
        if step is not None:
            self._lease.report_progress(step.number, self._total, partial(self._make_preview, step.row))

    def _note(self, step: int, row: HostCopy, start_s: float, end_s: float) -> None:
        self._step_s.observe(end_s - start_s)
        self._steps_s.append(end_s - start_s)
        self._newest = _DoneStep(step + 1, row)

    def _make_preview(self, row: HostCopy) -> str:
        return self._preview(row.wait(), self._size)
