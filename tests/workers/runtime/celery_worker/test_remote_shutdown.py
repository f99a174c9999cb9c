from typing import Any

import pytest
from celery.exceptions import WorkerShutdown
from celery.worker import control as celery_control

from workers.runtime.celery_worker.remote_shutdown import leave_on_remote_shutdown

control: Any = celery_control


def test_a_worker_that_is_stopped_by_remote_control_leaves_first() -> None:
    left: list[str] = []
    before = control.Panel.data["shutdown"]
    leave_on_remote_shutdown(lambda: left.append("left"))
    try:
        with pytest.raises(WorkerShutdown):
            control.Panel.data["shutdown"](state=None)
    finally:
        control.Panel.data["shutdown"] = before
    assert left == ["left"]
