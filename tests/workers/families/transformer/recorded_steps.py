"""A queue of steps that remembers which other jobs' steps each request may be batched with."""

import dataclasses
from collections.abc import Collection

from torch import Tensor

from shared.redis_clients import residual_servers
from workers.transport.protocol import StepRequest
from workers.transport.step_queue import StepQueue
from workers.unet.worker import UNetWorker


class RecordedSteps(StepQueue):
    """See `StepQueue`; ``batch_keys`` are those of all requests, empty where a step is computed alone."""

    def __init__(self, worker: UNetWorker) -> None:
        super().__init__(residual_servers(worker.settings)[0], worker.settings)
        self.batch_keys: list[str] = []

    def send(self, request: StepRequest, x: Tensor, *, local: Collection[int] = ()) -> None:
        """See `StepQueue`."""
        self.batch_keys.append(request.batch_key)
        super().send(request, x, local=local)


def recording(worker: UNetWorker) -> tuple[UNetWorker, RecordedSteps]:
    """The same worker with such a queue, and the queue."""
    steps = RecordedSteps(worker)
    return dataclasses.replace(worker, steps=steps), steps
