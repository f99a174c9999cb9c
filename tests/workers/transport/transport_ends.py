"""Steps to send and to respond to, and the two ends that do it."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from redis import Redis
from torch import Tensor

from shared.settings import Settings
from workers.devices.base import Device
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
        device: Device | None = None,
        step_bytes: int = 0,
    ) -> None:
        self.steps = StepQueue(clients[0], settings)
        self.unet, self.controlnet = (
            ResidualTransport(clients, settings, device=device, backends=backends, step_bytes=step_bytes)
            for _ in range(2)
        )

    def send_step(self, **changes: Any) -> StepRequest:
        """Send the request of a step."""
        sent = make_request(**{"reachable_by": self.unet.announce(), **changes})
        self.steps.send(sent, X)
        return sent

    def transfer(self, request: StepRequest, residual: Tensor, index: int = 0) -> Tensor:
        """One residual, from one end to the other."""
        assert self.controlnet.respond(request, [(make_response(index), residual)]) > 0
        [(response, received)] = self.receive(request)
        assert response.index == index
        assert received is not None, response.detail
        return received

    def receive(self, request: StepRequest) -> list[tuple[StepResponse, Tensor | None]]:
        """What has arrived, at least one response, with its residual as the computation uses it."""
        return received_by(self.unet, request)

    def close(self) -> None:
        """The end of both processes."""
        self.unet.close()
        self.controlnet.close()


def received_by(
    transport: ResidualTransport, request: StepRequest, timeout_s: float = 5.0
) -> list[tuple[StepResponse, Tensor | None]]:
    """The responses that have arrived, with residuals as the computation uses them."""
    return [
        (response, None if copy is None else copy.follow())
        for response, copy in transport.receive(request, timeout_s)
    ]


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
