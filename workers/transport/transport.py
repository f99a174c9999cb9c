"""The residual transport: residuals and the inputs of steps, each by the fastest way there is.

Heads of answers, and inputs, lie at the first residual server, the *home*. Small residuals follow their
head; large ones go through shared memory between workers of one host, else in chunks over all servers.
Every key expires, every wait has a deadline. Inputs that stay the same over the steps (embeddings,
control images) lie there once, named by their content, so any worker can serve any step.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from shared.errors import InputsMissing
from shared.settings import Settings
from workers.transport.backends.host_memory import find_host_memory
from workers.transport.backends.shared_memory_reader import SharedMemoryReader
from workers.transport.keys import input_key
from workers.transport.protocol import StepRequest, StepResponse
from workers.transport.receiver import ResidualReceiver
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.response_publisher import PUSH_SCRIPT
from workers.transport.sender import ResidualSender
from workers.transport.wire import pack, unpack

if TYPE_CHECKING:
    from redis import Redis


class Transport:
    """Both ends of the way; safe to use from several threads."""

    def __init__(self, clients: Sequence["Redis"], settings: Settings) -> None:
        """``clients`` are of the residual servers, in the order of the setting."""
        self._home = clients[0]
        self._input_ttl_s = settings.input_ttl_s
        self._host = find_host_memory() if settings.shared_memory == "auto" else None
        servers = ConnectionPool(clients, [PUSH_SCRIPT.encode()])
        self._reader = SharedMemoryReader(self._host.folder) if self._host else None
        self._receiver = ResidualReceiver(servers, self._reader, settings)
        self._sender = ResidualSender(servers, self._host, settings)

    # --- the UNet worker's end -------------------------------------------------------------------

    @property
    def shared_memory(self) -> str:
        """What a step request says of the memory that this worker sees; empty if there is none."""
        return self._host.token if self._host else ""

    def put_input(self, tensor: Tensor) -> str:
        """Lay a tensor down for all steps of a job; returns its key, which is its content's hash."""
        frame = pack({}, tensor)
        key = hashlib.sha256(frame).hexdigest()
        if not self._home.expire(input_key(key), self._input_ttl_s):
            self._home.set(input_key(key), frame, ex=self._input_ttl_s)
        return key

    def receive(self, request: StepRequest, timeout_s: float) -> list[tuple[StepResponse, Tensor | None]]:
        """What has come back of a step, at least one residual; empty after ``timeout_s``.

        A residual is a view of memory that is used again once no tensor refers to it: who drops it early
        makes room early, who holds it is safe. One that got lost comes as an error in its place.
        """
        return self._receiver.receive(request, timeout_s)

    def forget(self, job_id: str) -> None:
        """The attempt needs no more residuals: make room at once."""
        self._receiver.forget(job_id)

    # --- the ControlNet worker's end -----------------------------------------------------------

    def get_input(self, key: str) -> Tensor:
        """A tensor that was laid down; raises `InputsMissing`."""
        value: Any = self._home.getex(input_key(key), ex=self._input_ttl_s)
        if value is None:
            raise InputsMissing(f"the residual server does not hold input {key[:12]} (any more)")
        tensor = unpack(value)[1]
        assert tensor is not None, "an input is a tensor"
        return tensor

    def respond(self, request: StepRequest, answers: Iterable[tuple[StepResponse, Tensor | None]]) -> int:
        """Hand over residuals, or errors, of one step in this order; returns the bytes that went.

        Nothing goes if the job is known to be past the step. Tensors may be changed afterwards. While the
        servers are full this waits, for as long as a step waits for residuals, and then hands over
        `ResidualsFull` instead. Heads of residuals that need no fetching go together, a few megabytes a time.
        """
        return self._sender.put(request, answers)

    # --- both ends -------------------------------------------------------------------------------

    def sweep(self) -> None:
        """A chore for every few seconds: give back shared memory whose writer or reader is gone."""
        if self._host is not None and self._reader is not None:
            self._host.sweep()
            self._reader.drop_gone()
            self._sender.blocks.reclaim()

    def close(self) -> None:
        """Give back shared memory at the end of the process."""
        self._sender.blocks.shut()
