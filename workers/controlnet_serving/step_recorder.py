"""Records what steps took once the device has computed them: for batches, metrics and the heartbeat."""

from collections.abc import Sequence

from shared import metrics
from workers.controlnet_serving.batch_collector import BatchCollector
from workers.controlnet_serving.forward import BatchedForward
from workers.devices.timer import DeviceSpan, DeviceTimer
from workers.runtime.activity.busy import BusyShare
from workers.transport.step_queue import ClaimedStep


class StepRecorder:
    """For the thread that computes the steps."""

    def __init__(self, timer: DeviceTimer, collector: BatchCollector, busy: BusyShare) -> None:
        self._timer = timer
        self._collector = collector
        self._busy = busy

    def submitted(
        self, batch: Sequence[ClaimedStep], forwards: Sequence[BatchedForward], span: DeviceSpan
    ) -> None:
        """The device computes ``batch`` during ``span``. What it computes with is not kept until then."""
        served = [forward.controlnet.name for forward in forwards for _ in forward.steps]
        is_whole = len(forwards) == 1 and len(served) == len(batch)  # else it says nothing of this batch
        is_running = not span.end.is_done
        metrics.CONTROLNET_BATCH_JOBS.labels(batch[0].part.controlnet).observe(len(batch))

        def record(span: DeviceSpan) -> None:
            seconds = span.end_s - span.start_s
            if is_running:  # else who submitted it was busy all the while
                self._busy.add(span.start_s, span.end_s)
            if is_whole:
                self._collector.record(batch, seconds)
            for controlnet in served:
                metrics.CONTROLNET_STEPS.labels(controlnet, "served").inc()
                metrics.CONTROLNET_STEP_S.labels(controlnet).observe(seconds)

        self._timer.when_done(span, record)
