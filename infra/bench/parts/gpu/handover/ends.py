"""One end of the residual transport in a process of its own, which does what its input says.

``python -m infra.bench.parts.gpu.handover.ends``: the first line of its input is `Setup`, each further one a
`Command`, each answered by a line, an `Answer`. Both ends know every residual: numbers come from a seed.
"""

import sys
import time
import traceback
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel
from torch import Tensor

from infra.bench.harness.residual_messages import request_residuals, residual_response
from shared.redis_clients import residual_servers
from shared.settings import Settings
from workers.controlnet_serving.lease_renewer import LeaseRenewer
from workers.controlnet_serving.sender import QueuedResponse, ResponseSender
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.transport.backends.selection import build_backends
from workers.transport.protocol import StepRequest
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport

#: A step of the same number of residuals, and hardly a byte in them: what messages cost.
TINY = (2, 8, 4, 4)


Act = Literal["ask", "send", "receive", "first", "settle"]


class Setup(BaseModel):
    """Where everything is, and what is sent."""

    redis_url: str
    device: str
    dtype: str
    shapes: tuple[tuple[int, int, int, int], ...]
    backend: str
    shared_memory_bytes: int


class Command(BaseModel):
    """What an end does next; ``number`` is the step's."""

    act: Act
    number: int = 0
    is_tiny: bool = False
    wait_s: float = 5.0


class Answer(BaseModel):
    """What came of it; moments are of the monotonic clock, which all processes of a machine share."""

    began_s: float = 0.0
    ended_s: float = 0.0
    backends: tuple[str, ...] = ()  # that carried the residuals
    received: int = 0
    is_equal: bool = True
    error: str | None = None


class End:
    """Either end of one backend, with those after it for what it cannot carry."""

    def __init__(self, setup: Setup, device: Device | None = None) -> None:
        """Tests give a ``device``."""
        settings = Settings(
            residual_redis_url=(setup.redis_url,), shared_memory_bytes=setup.shared_memory_bytes
        )
        clients = residual_servers(settings)
        self._device = device or find_device(setup.device)
        every = build_backends(ConnectionPool(clients), settings, self._device)
        names = [backend.name for backend in every]
        if setup.backend not in names:
            raise ValueError(f"there is no backend {setup.backend}; there are {', '.join(names)}")
        backends = every[names.index(setup.backend) :]
        self._transport = ResidualTransport(clients, settings, device=self._device, backends=backends)
        self._steps = StepQueue(clients[0], settings)
        self._sender = ResponseSender(self._transport, LeaseRenewer(self._steps, list))
        self._sender.start()
        self._residuals = {is_tiny: make_residuals(setup, is_tiny=is_tiny) for is_tiny in (False, True)}

    def do(self, command: Command) -> Answer:
        """Do one thing; errors are told, not raised."""
        try:
            acts = {"ask": self._ask, "send": self._send, "receive": self._receive, "first": self._receive}
            return acts[command.act](command) if command.act in acts else self._settle()
        except Exception as error:  # the parent decides what it means
            traceback.print_exc()
            return Answer(error=f"{type(error).__name__}: {error}"[:300])

    def _ask(self, command: Command) -> Answer:
        self._steps.send(self._request(command.number), torch.empty(0))
        return Answer()

    def _send(self, command: Command) -> Answer:
        request = self._request(command.number)
        self._device.synchronize()
        began_s = time.monotonic()
        self._sender.send(
            *(
                QueuedResponse(request, residual_response(index), residual, "controlnet")
                for index, residual in enumerate(self._residuals[command.is_tiny])
            )
        )
        return Answer(began_s=began_s)

    def _receive(self, command: Command) -> Answer:
        """All residuals, or the first alone before the clock is read; then they are compared."""
        request, expected = self._request(command.number), self._residuals[command.is_tiny]
        received: dict[int, Tensor] = {}
        backends, ended_s = list[str](), 0.0
        deadline = time.monotonic() + command.wait_s
        while len(received) < len(expected) and time.monotonic() < deadline:
            for head, residual in self._transport.receive(request, deadline - time.monotonic()):
                if residual is None or head.payload is None:
                    return Answer(received=len(received), error=f"{head.error}: {head.detail}")
                received[head.index] = residual.follow()
                backends.append(head.payload.backend)
                if command.act == "first" and not ended_s:
                    self._device.synchronize()
                    ended_s = time.monotonic()
        self._device.synchronize()
        ended_s = ended_s or time.monotonic()
        is_equal = all(torch.equal(tensor, expected[index]) for index, tensor in received.items())
        self._transport.forget(request.job_id)
        return Answer(
            ended_s=ended_s, backends=tuple(sorted(set(backends))), received=len(received), is_equal=is_equal
        )

    def _settle(self) -> Answer:
        """Free what a dead peer has left; an error of the device that stays shows here."""
        self._transport.sweep()
        self._device.collect()
        self._device.synchronize()
        self._device.release_cached()
        return Answer(error="the device is lost" if self._device.is_lost() else None)

    def _request(self, number: int) -> StepRequest:
        return request_residuals(self._transport, f"handover{number}", number)


def make_residuals(setup: Setup, *, is_tiny: bool) -> list[Tensor]:
    """The same numbers in every process, on the device."""
    generator = torch.Generator(setup.device).manual_seed(7)
    shapes: Sequence[tuple[int, int, int, int]] = [TINY] * len(setup.shapes) if is_tiny else setup.shapes
    dtype = getattr(torch, setup.dtype)
    return [torch.randn(shape, generator=generator, device=setup.device).to(dtype) for shape in shapes]


@torch.inference_mode()
def main() -> None:
    """Do what the input says until it ends."""
    torch.set_num_threads(1)
    end = End(Setup.model_validate_json(sys.stdin.readline()))
    print(Answer().model_dump_json(), flush=True)
    for line in sys.stdin:
        print(end.do(Command.model_validate_json(line)).model_dump_json(), flush=True)


if __name__ == "__main__":
    main()
