"""Ends a worker's process once its device is lost.

After a failed assertion on the device, or an illegal access, every further call fails alike, whatever job it
is for, until a new process has a context of its own. So the worker takes no more work and says why, hands
over what it holds, and ends; whoever supervises it starts it again.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.errors import DeviceLost
from workers.devices.base import Device
from workers.devices.errors import device_error
from workers.runtime.process_exit import end_process, exit_now

log = logging.getLogger(__name__)

#: ``os.EX_UNAVAILABLE``, as the supervisor shows it.
STATUS = 69
#: A process that has not stopped by itself after this long is ended where it is.
STOP_S = 20.0


class DeviceLoss:
    """Notes the loss of one device, once; from then on this process ends, and touches the device no more."""

    def __init__(
        self,
        device: Device,
        *,
        stop_s: float = STOP_S,
        end: Callable[[str], None] | None = None,
    ) -> None:
        """``end``, by default `end_process`, is called if the process has not stopped after ``stop_s``."""
        self.device = device
        self._stop_s, self._end = stop_s, end or (lambda why: end_process(why, STATUS))
        self._withdrawals: list[Callable[[], object]] = []
        #: With its traceback: torch would use the device to free the tensors of those frames.
        self._error: DeviceLost | None = None
        self._lock = threading.Lock()

    @property
    def is_lost(self) -> bool:
        """Whether the device is lost."""
        return self._error is not None

    @property
    def usable_device(self) -> Device | None:
        """The device, unless it is lost."""
        return None if self.is_lost else self.device

    def problems(self) -> list[str]:
        """The loss, in a sentence for the heartbeat."""
        return [str(self._error)] if self._error is not None else []

    def check(self) -> None:
        """Raise `DeviceLost` once the device is lost: nothing may begin on it."""
        if self._error is not None:
            raise DeviceLost(str(self._error))

    def on_loss(self, withdraw: Callable[[], object]) -> None:
        """Call ``withdraw`` once the device is lost, in the thread that has noticed it."""
        self._withdrawals.append(withdraw)

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise `DeviceLost` or `DeviceFull` in place of torch's errors; a loss is noted before."""
        try:
            yield
        except Exception as error:
            found = device_error(error, self.device)
            if isinstance(found, DeviceLost):
                self.note(found)
            if found is None or found is error:
                raise
            raise found from error

    def note(self, error: DeviceLost) -> None:
        """The device is lost: withdraw the worker, and see to it that its process ends."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
        log.critical("device lost: this process ends", extra={"error": str(error)})
        timer = threading.Timer(self._stop_s, self._end, [f"it did not stop after {error}"])
        timer.daemon = True
        timer.start()
        for withdraw in self._withdrawals:
            try:
                withdraw()
            except Exception:  # the others count all the same
                log.exception("not withdrawn")

    def exit_if_lost(self) -> None:
        """The last call of a process that has stopped: its libraries' own end would use the device."""
        if self._error is not None:
            exit_now(STATUS)
