"""Steps to send and to respond to, and the two ends that do it."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from redis import Redis
from torch import Tensor

from shared.settings import Settings
from workers.transport.backends.base import TransportBackend
from workers.transport.protocol import StepRequest, StepResponse
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport

BackendName = Literal["redis", "shared_memory"]
X = torch.zeros(2, 4, 8, 8)
_JOBS = itertools.count()


class TransportEnds:
    """The transport of a UNet worker and that of a ControlNet worker."""

    def __init__(
        self,
        clients: Sequence[Redis],
        settings: Settings,
        backends: Sequence[TransportBackend] | None = None,
    ) -> None:
        self.steps = StepQueue(clients[0], settings)
        self.unet = ResidualTransport(clients, settings, backends=backends)
        self.controlnet = ResidualTransport(clients, settings, backends=backends)

    def send_step(self, **changes: Any) -> StepRequest:
        """Send the request of a step."""
        sent = make_request(**{"reachable_by": self.unet.announce(), **changes})
        self.steps.send(sent, X)
        return sent

    def transfer(self, request: StepRequest, residual: Tensor, index: int = 0) -> Tensor:
        """One residual, from one end to the other."""
        assert self.controlnet.respond(request, [(make_response(index), residual)]) > 0
        (received,) = self.unet.receive(request, 5.0)
        assert received[0].index == index
        assert received[1] is not None, received[0].detail
        return received[1]

    def close(self) -> None:
        """The end of both processes."""
        self.unet.close()
        self.controlnet.close()


def make_request(**changes: Any) -> StepRequest:
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
        "reachable_by": {},
    }
    return StepRequest.model_validate(values | changes)


def make_response(index: int = 0) -> StepResponse:
    """The header of a residual."""
    return StepResponse(
        index=index, positions=[0], retry=0, start_s=0.0, end_s=0.0, worker="controlnet1@test"
    )


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers that no two seeds share."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
