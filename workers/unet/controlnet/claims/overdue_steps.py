"""Serves, while this worker has a job, steps of other jobs that no worker without a job takes.

Jobs come first. But a requester that may not hold a ControlNet, or has no memory for it, would starve while
every worker that has it loaded has jobs waiting. Where none has loaded it, one of those that may hold it
loads it beside its job (`workers.unet.process.serving`).
"""

import logging
import threading
from collections.abc import Callable

from shared.errors import DeviceLost, WorkerStopping

log = logging.getLogger(__name__)


class OverdueSteps:
    """Those of a worker's loaded ControlNets; without `connect` it serves none."""

    def __init__(self) -> None:
        self._exist: Callable[[], bool] = lambda: False
        self._serve: Callable[[], object] = lambda: None
        self._found = threading.Event()

    def connect(self, exist: Callable[[], bool], serve: Callable[[], object]) -> None:
        """``exist`` asks Redis whether there are any; ``serve`` serves one by the thread of the job."""
        self._exist, self._serve = exist, serve

    def look(self) -> None:
        """Look whether there are any; called every half second while a job runs, never by its loop."""
        if self._exist():
            self._found.set()

    def serve_one(self) -> None:
        """Serve one, if the last look has found any: so a job is kept from its device once a look at most.

        The job's loop calls it between two steps, and while it waits for residuals itself. Whatever another
        job's step meets is only logged; raises `DeviceLost` and `WorkerStopping`, which end this job, too.
        """
        if self._found.is_set():
            self._found.clear()
            try:
                self._serve()
            except (DeviceLost, WorkerStopping):
                raise
            except Exception as error:
                log.warning("no overdue step served", extra={"error": repr(error)})
