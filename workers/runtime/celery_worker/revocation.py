"""Revoking a job's task, in Flower or with ``celery control revoke``, cancels the job.

A job's task has the job's id. A revocation is broadcast to the workers that live at that moment and kept
nowhere else: one that is sent while none lives is not known to anybody.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from celery.worker import control as celery_control
from celery.worker import state as worker_state
from kombu.utils.functional import maybe_list
from redis.exceptions import RedisError

from shared.errors import NotFound
from shared.jobs.store import JobStore
from shared.messaging.celery_app import remove_message, unet_queue
from shared.scheduling.releaser import Releaser

log = logging.getLogger(__name__)

control: Any = celery_control  # typed only in part

#: Between two tries to cancel while Redis does not answer.
RETRY_S = 1.0
_KEEP_TRYING_S = 600.0


def cancel_revoked_jobs(cancel: Callable[[str], bool]) -> None:
    """From now on this process answers ``revoke`` and ``terminate`` by cancelling the jobs they name.

    ``cancel`` is `revoke_job` of a job store. Nothing is killed: the worker computes in
    a thread of its own process, and a cancelled job stops at its next step.
    """

    @control.control_command(
        name="revoke",
        variadic="task_id",
        signature="[id1 [id2 [... [idN]]]]",
        help="Cancel jobs by their ids.",
    )
    def revoke(state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **_: Any) -> Any:
        ids = {str(one) for one in maybe_list(task_id) or []}
        worker_state.revoked.update(ids)  # should their messages still come
        events = state.consumer.event_dispatcher
        threading.Thread(target=_cancel_all, args=[cancel, ids, events], name="revoke", daemon=True).start()
        return control.ok(f"tasks {', '.join(sorted(ids))} are cancelled if they are jobs")

    @control.control_command(
        name="terminate",
        variadic="task_id",
        args=[("signal", str)],
        signature="<signal> [id1 [id2 [... [idN]]]]",
        help="The same as revoke: a running job stops at its next step.",
    )
    def terminate(state: Any, signal: Any, task_id: Any, **_: Any) -> Any:
        return revoke(state, task_id)


def revoke_job(jobs: JobStore, job_id: str) -> bool:
    """Cancel a job; returns whether no worker will take it: it was held, or its message is removed here.

    Raises `NotFound` if there is no such job.
    """
    was_held = Releaser(jobs.redis).is_held(job_id)
    if jobs.cancel(job_id) != "cancelled":
        return False  # it runs, and stops at its next step; or it has ended
    return was_held or remove_message(jobs.redis, unet_queue(jobs.get(job_id).spec.model), job_id)


def _cancel_all(cancel: Callable[[str], bool], ids: Iterable[str], events: Any) -> None:
    deadline = time.monotonic() + _KEEP_TRYING_S
    for job_id in ids:
        while time.monotonic() < deadline:
            try:
                if cancel(job_id) and events:  # no worker will take it and say so
                    events.send("task-revoked", uuid=job_id, terminated=False, signum=None, expired=False)
                log.info("job revoked", extra={"job": job_id})
            except NotFound:
                pass  # a task that is no job: an attachment, an offer to follow
            except RedisError:
                time.sleep(RETRY_S)
                continue
            break
