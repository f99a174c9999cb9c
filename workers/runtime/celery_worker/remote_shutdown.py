"""``celery control shutdown``, and Flower's button, stop a worker as SIGTERM does."""

from collections.abc import Callable
from typing import Any

from celery.exceptions import WorkerShutdown
from celery.worker import control as celery_control

control: Any = celery_control  # typed only in part


def leave_on_remote_shutdown(leave: Callable[[], object]) -> None:
    """From now on this process calls ``leave`` before it stops on such a command.

    Celery sends ``worker_shutting_down`` for signals of the operating system alone.
    """

    @control.control_command(name="shutdown", help="Stop workers: each hands its job over.")
    def shutdown(state: Any, msg: str = "", **_: Any) -> None:
        leave()
        raise WorkerShutdown(0)
