"""Steps to send and to answer, and the two ends that do it."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from redis import Redis
from torch import Tensor

from shared.settings import Settings
from workers.transport.protocol import StepRequest, StepResponse
from workers.transport.step_queue import StepQueue
from workers.transport.transport import Transport

Rung = Literal["redis", "shared_memory"]
X = torch.zeros(2, 4, 8, 8)
_JOBS = itertools.count()


class Ends:
    """A UNet worker's transport and a ControlNet worker's."""

    def __init__(self, clients: Sequence[Redis], settings: Settings) -> None:
        self.steps = StepQueue(clients[0], settings)
        self.unet = Transport(clients, settings)
        self.controlnet = Transport(clients, settings)

    def ask(self, **changes: Any) -> StepRequest:
        """Send a step."""
        asked = request(shared_memory=self.unet.shared_memory, **changes)
        self.steps.send(asked, X)
        return asked

    def hand_over(self, asked: StepRequest, tensor: Tensor, index: int = 0) -> Tensor:
        """One residual, from one end to the other."""
        assert self.controlnet.respond(asked, [(answer(index), tensor)]) > 0
        (received,) = self.unet.receive(asked, 5.0)
        assert received[0].index == index
        assert received[1] is not None, received[0].detail
        return received[1]

    def close(self) -> None:
        """The end of both processes."""
        self.unet.close()
        self.controlnet.close()


def request(**changes: Any) -> StepRequest:
    """A step of a new job."""
    values = {
        "job_id": f"job{next(_JOBS)}",
        "attempt": "attempt",
        "ordinal": 1,
        "step": 0,
        "retry": 0,
        "t": 501.0,
        "inputs": {},
        "parts": [],
        "rows": 2,
        "batch_key": "",
    }
    return StepRequest.model_validate(values | changes)


def answer(index: int = 0) -> StepResponse:
    """The head of a residual."""
    return StepResponse(
        index=index, positions=[0], retry=0, start_s=0.0, end_s=0.0, worker="controlnet1@test"
    )


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers that no two seeds share."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
