"""Transports of one step's residuals from a ControlNet worker's process into a UNet worker's."""

import socket
from collections.abc import Sequence
from typing import Any, Protocol
from warnings import catch_warnings, simplefilter

import torch
from pydantic import BaseModel
from redis import Redis
from torch import Tensor

from infra.bench.harness.residual_messages import request_residuals, residual_response
from infra.bench.parts.transport.relay import connect
from shared.redis_clients import residual_servers
from shared.settings import Settings
from workers.controlnet_serving.lease_renewer import LeaseRenewer
from workers.controlnet_serving.sender import QueuedResponse, ResponseSender
from workers.transport.protocol import StepRequest
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport
from workers.transport.wire import bytes_of, flat_bytes

#: Shapes of one step's residuals, batch 2, in the order in which they leave: mid, then deepest first.
Shapes = tuple[tuple[int, int, int, int], ...]
WAIT_S = 30.0


def _deepest_first(*groups: tuple[int, int, int]) -> Shapes:
    return tuple((2, channels, side, side) for count, channels, side in groups for _ in range(count))


#: In float16 27 MB and 107 MB.
STEPS: dict[str, Shapes] = {
    "27mb": _deepest_first(
        (4, 1280, 8), (2, 1280, 16), (1, 640, 16), (2, 640, 32), (1, 320, 32), (3, 320, 64)
    ),
    "107mb": _deepest_first((3, 1280, 32), (1, 640, 32), (2, 640, 64), (1, 320, 64), (3, 320, 128)),
}


class Addresses(BaseModel):
    """Where everything is."""

    redis_url: str
    relay_port: int


class MeasuredTransport(Protocol):
    """Both ends; each process uses one of them."""

    def ask(self, step: int) -> None:
        """Before the clock runs: what the UNet worker has sent already."""

    def send(self, step: int, tensors: Sequence[Tensor]) -> None:
        """The ControlNet worker's end."""

    def receive(self, step: int, shapes: Shapes) -> list[Tensor]:
        """The UNet worker's end."""


class Ours:
    """The residual transport, with shared memory or without."""

    def __init__(self, addresses: Addresses, *, shared_memory: bool) -> None:
        settings = Settings(
            residual_redis_url=(addresses.redis_url,), shared_memory="auto" if shared_memory else "off"
        )
        clients = residual_servers(settings)
        self._steps, self._transport = StepQueue(clients[0], settings), ResidualTransport(clients, settings)
        self._sender = ResponseSender(self._transport, LeaseRenewer(self._steps, list))
        self._sender.start()

    def ask(self, step: int) -> None:
        self._steps.send(self._request(step), torch.empty(0))

    def send(self, step: int, tensors: Sequence[Tensor]) -> None:
        request = self._request(step)
        for index, tensor in enumerate(tensors):
            self._sender.send(QueuedResponse(request, residual_response(index), tensor, "controlnet"))

    def receive(self, step: int, shapes: Shapes) -> list[Tensor]:
        request, received = self._request(step), list[Tensor]()
        while len(received) < len(shapes):
            for head, residual in self._transport.receive(request, WAIT_S):
                assert residual is not None, head.detail
                received.append(residual.follow())
        return received

    def _request(self, step: int) -> StepRequest:
        return request_residuals(self._transport, "bench", step)


class RedisPy:
    """What people write: a list, and redis-py."""

    def __init__(self, addresses: Addresses) -> None:
        self._redis = Redis.from_url(addresses.redis_url, socket_timeout=WAIT_S)

    def ask(self, step: int) -> None:
        pass

    def send(self, step: int, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            data: Any = bytes_of(flat_bytes(tensor))
            self._redis.rpush(f"residuals:{step}", data)

    def receive(self, step: int, shapes: Shapes) -> list[Tensor]:
        received = []
        for shape in shapes:
            answer: Any = self._redis.blpop([f"residuals:{step}"], timeout=WAIT_S)
            with catch_warnings():
                simplefilter("ignore", UserWarning)  # bytes cannot be written to: nobody does
                received.append(torch.frombuffer(answer[1], dtype=torch.float16).view(shape))
        return received


class Raw:
    """Sockets alone, from and into kept memory, over the same number of hops."""

    def __init__(self, addresses: Addresses) -> None:
        self._port = addresses.relay_port
        self._socket: socket.socket | None = None
        self._kept: dict[int, list[Tensor]] = {}

    def connect(self) -> None:
        """First the sender, then the receiver."""
        self._socket = connect(self._port)

    def ask(self, step: int) -> None:
        pass

    def send(self, step: int, tensors: Sequence[Tensor]) -> None:
        assert self._socket is not None
        for tensor in tensors:
            self._socket.sendall(bytes_of(flat_bytes(tensor)))

    def receive(self, step: int, shapes: Shapes) -> list[Tensor]:
        assert self._socket is not None
        if len(shapes) not in self._kept:
            self._kept[len(shapes)] = [torch.zeros(shape, dtype=torch.float16) for shape in shapes]
        for tensor in self._kept[len(shapes)]:
            memory = bytes_of(flat_bytes(tensor))
            while len(memory):
                memory = memory[self._socket.recv_into(memory) :]
        return self._kept[len(shapes)]


def make_residuals(step: str) -> list[Tensor]:
    """The same numbers in every process."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator).to(torch.float16) for shape in STEPS[step]]


def make_transports(addresses: Addresses) -> dict[str, MeasuredTransport]:
    """All transports from one process into another."""
    return {
        "shm": Ours(addresses, shared_memory=True),
        "redis": Ours(addresses, shared_memory=False),
        "redispy": RedisPy(addresses),
        "raw": Raw(addresses),
    }
