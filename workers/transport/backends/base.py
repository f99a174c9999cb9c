"""What a transport backend is: one way in which residuals travel between two workers.

A backend has both ends: a ControlNet worker puts, a UNet worker gets, and one process may do both. To add a
backend, implement `TransportBackend` in a file of its own and add it to `selection.build_backends`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from workers.transport.protocol import StepRequest
from workers.transport.redis_client.resp import Command

#: Where a backend has stored a payload: JSON that only this backend writes and reads.
Location = dict[str, Any]


class Transfer(Protocol):
    """Bytes on their way to where they are stored; `workers.devices.base.HostCopy` is one."""

    @property
    def is_done(self) -> bool:
        """Whether all bytes are known to be there; does not wait."""

    def wait(self) -> object:
        """Return once all bytes are there."""


class StoredPayload(NamedTuple):
    """A payload that `TransportBackend.put` has stored, or that is stored by the message with its header."""

    location: Location
    attached: bytes | memoryview = b""  # follows the header in its frame
    transfer: Transfer | None = None  # ``None``: all bytes are there
    #: ``SET`` commands for the primary residual server, sent ahead of the header in one message.
    commands: Sequence[Command] = ()
    #: Stores it once more, elsewhere, if ``transfer`` or the server has refused it; raises what `put` raises.
    store_again: Callable[[], "StoredPayload"] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there; does not wait."""
        return self.transfer is None or self.transfer.is_done

    def wait(self) -> None:
        """Return once all bytes are there; raises what has gone wrong with the transfer."""
        if self.transfer is not None:
            self.transfer.wait()


class Arriving(NamedTuple):
    """A payload whose bytes are being copied; they may be used if `confirm` then says that they are right."""

    payload: Tensor
    confirm: Callable[[], bool]  # waits for the copy; to be called once, also if the payload is not needed


class StepSuperseded(Exception):
    """The job is past this step, so nobody would read the residual."""


class TransportBackend(ABC):
    """One way in which residuals travel. Every method may be called from several threads at once.

    A payload is a residual as the codec left it (`workers.transport.codecs`): ``uint8``, ``(n,)``, on
    whatever device the worker computed it. What `get` returns are the same bytes: backends never change a
    bit, and know neither shapes nor memory formats.
    """

    #: Names the backend in requests, headers and metrics.
    name: ClassVar[str]
    #: Larger payloads are left to the backends after this one.
    max_bytes: float = float("inf")
    #: Whether `put` and `get` take as long as the transfer. If so, each payload has a message of its own,
    #: which is sent as soon as it is stored, and a reader gets one such payload at a time.
    is_blocking: ClassVar[bool] = False

    def announce(self) -> str:
        """What a request of this worker tells `can_reach` of the worker that answers; asked at every step."""
        return ""

    def can_reach(self, peer: str) -> bool:
        """Whether a worker that announces ``peer`` can get what is put here."""
        return True

    def has_space(self, size_bytes: int) -> bool:
        """Whether `put` would not wait for space; before it does, all earlier headers are published."""
        return True

    @abstractmethod
    def put(self, request: StepRequest, index: int, payload: Tensor) -> StoredPayload | None:
        """Store the payload of residual ``index``; ``None`` if there is no space now.

        Then the next backend carries it. The payload is ready for the current stream. A copy may still run
        when this returns: `StoredPayload.wait` returns when it has ended, and the header is published after
        that. Until then the copy must keep the payload's memory, as the caller lets go of the tensor:
        `Device.to_host` does, others call `Device.record_stream`.

        Raises `StepSuperseded`, or `ResidualServersFull`, which is sent to the reader in the residual's
        place. Any other exception loses this residual alone: its reader asks for the step again.
        """

    @abstractmethod
    def get(self, location: Location, size_bytes: int, attached: memoryview) -> Tensor | Arriving | None:
        """A payload as ``uint8``, ``(size_bytes,)``; ``None`` if it is not there (any more).

        It is on the host or on the worker's device, and ready for the current stream, which is a side stream
        (`workers.transport.receiver`). While any tensor refers to its memory, the backend writes nothing else
        there; afterwards the memory is free, without a call. That is before the device has read it, if it is
        the device's: a backend that gives tensors on the device must know by an event when it has. Raises
        `ValueError` or `InvalidFrame` for what no worker of this version wrote.
        """

    @abstractmethod
    def discard(self, location: Location, size_bytes: int) -> None:
        """Free a payload that nobody will get, at either end. What cannot be freed now must expire."""

    @abstractmethod
    def sweep(self) -> None:
        """Free what dead readers and writers have left; called every few seconds."""

    def warnings(self) -> list[str]:
        """What keeps it from carrying what it could, in sentences for whoever operates the worker."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Free everything at the end of the process. Whatever readers still refer to stays valid."""
