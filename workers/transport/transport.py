"""The residual transport: residuals from ControlNet workers to UNet workers, and the inputs of steps back.

Each residual is stored by a transport backend (`backends/`) and announced by a header in the step's list at
the primary residual server, where the UNet worker waits. Inputs that stay the same over the steps
(embeddings, control images) are stored there once, named by their content, so any worker can serve any
step. Every key expires, every wait has a deadline.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from shared.errors import InputsMissing
from shared.settings import Settings
from workers.devices.base import Device, DeviceCopy
from workers.devices.selection import find_device
from workers.runtime.budgets.transport_memory import max_held_bytes
from workers.transport.backends.base import TransportBackend
from workers.transport.backends.selection import BackendSet, build_backends
from workers.transport.keys import input_key
from workers.transport.protocol import StepRequest, StepResponse
from workers.transport.receiver import ResidualReceiver, ignore_wait
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.response_batch import Stamp, unchanged
from workers.transport.sender import ResidualSender
from workers.transport.wire import pack, unpack

if TYPE_CHECKING:
    from redis import Redis


class ResidualTransport:
    """Both ends of the transport; safe to use from several threads."""

    def __init__(
        self,
        clients: Sequence["Redis"],
        settings: Settings,
        *,
        device: Device | None = None,
        backends: Sequence[TransportBackend] | None = None,
        step_bytes: int = 0,
    ) -> None:
        """``clients`` are of the residual servers, in the order of the setting; the first is the primary.

        ``device``: where residuals are computed and used, by default the CPU. ``backends``: the preferred
        first; by default those of `build_backends`. ``step_bytes``: of the largest step.
        """
        self.device = device or find_device("cpu")
        servers = ConnectionPool(clients)
        self.redis_waits = servers.waits
        self._primary = clients[0]
        self._input_ttl_s = settings.input_ttl_s
        if backends is None:
            backends = build_backends(servers, settings, self.device, step_bytes)
        self._backends = BackendSet(backends)
        held = max_held_bytes(self.device, step_bytes)
        self._receiver = ResidualReceiver(servers, self._backends, self.device, held)
        ttl_s, lease_s = settings.residual_ttl_s, settings.controlnet_lease_s
        self._sender = ResidualSender(servers, self._backends, ttl_s, lease_s)

    # --- the UNet worker's end -------------------------------------------------------------------

    def announce(self) -> dict[str, str]:
        """How this worker can be reached: `StepRequest.reachable_by`, asked anew for every step."""
        return self._backends.announce()

    def put_input(self, tensor: Tensor) -> str:
        """Store a tensor for all steps of a job; returns its key, the hash of its content."""
        frame = pack({}, tensor)
        key = hashlib.sha256(frame).hexdigest()
        if not self._primary.expire(input_key(key), self._input_ttl_s):
            self._primary.set(input_key(key), frame, ex=self._input_ttl_s)
        return key

    def receive(
        self,
        request: StepRequest,
        timeout_s: float,
        on_wait: Callable[[], None] = ignore_wait,
        *,
        held_bytes: int = 0,
    ) -> list[tuple[StepResponse, DeviceCopy | None]]:
        """The responses to a step that have arrived, at least one; empty after ``timeout_s``.

        A residual is on its way to the device. It may be a view of memory that is used again once no tensor
        refers to it: it is safe to hold, and dropping it early frees its memory early. In place of a residual
        that was lost comes an error. ``on_wait`` is called if nothing has arrived yet, before this waits: of
        what has arrived there is only the transfer to wait for. ``held_bytes``: of the step's residuals that
        the caller has on the device already; but for one, others stay where they are until they fit.
        """
        return self._receiver.receive(request, timeout_s, on_wait, held_bytes=held_bytes)

    def forget(self, job_id: str) -> None:
        """The attempt needs no more residuals: free what has arrived for it, at once."""
        self._receiver.forget(job_id)

    def received_residuals(self) -> dict[str, dict[str, int]]:
        """Residuals received in the last minute, by the worker that sent them and the backend."""
        return self._receiver.counts.last_minute()

    # --- the ControlNet worker's end -----------------------------------------------------------

    def get_input(self, key: str) -> Tensor:
        """A tensor that `put_input` has stored; raises `InputsMissing`."""
        with self.redis_waits:
            value: Any = self._primary.getex(input_key(key), ex=self._input_ttl_s)
        if value is None:
            raise InputsMissing(f"the residual server does not hold input {key[:12]} (any more)")
        tensor = unpack(value)[1]
        assert tensor is not None, "an input is a tensor"
        return tensor

    def respond(
        self,
        request: StepRequest,
        responses: Iterable[tuple[StepResponse, Tensor | None]],
        stamp: Stamp = unchanged,
    ) -> int:
        """Send residuals, or errors, of one step in this order; returns how many bytes of payload were sent.

        A residual is ready for the current stream. ``stamp`` is called with a response once its residual is
        computed and stored, and returns what is published: the times are known by then. Raises
        `torch.AcceleratorError` or `DeviceLost` once the device is lost.

        Nothing is sent if the job is known to be past the step. The tensors may be changed afterwards. While
        the servers are full this waits, for as long as a step waits for residuals, and then sends the error
        `ResidualServersFull` instead. Headers that need no fetching are published a few megabytes at a time.
        """
        return self._sender.respond(request, responses, stamp)

    def check_responses(self) -> bool:
        """Find out what was lost with a dead connection, and have who waits for it ask again.

        Called by the thread that responds while it has nothing to send, every quarter of a lease, as long as
        this returns that there is more to find out. Raises `redis.RedisError` if the server stays away.
        """
        return self._sender.check()

    # --- both ends -------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Free what dead writers and readers have left; call it every few seconds."""
        self.device.collect()
        self._backends.sweep()

    def warnings(self) -> list[str]:
        """What makes residuals travel more slowly than they could, in sentences."""
        return self._backends.warnings()

    def close(self) -> None:
        """Free what the backends hold, at the end of the process."""
        self._backends.close()
