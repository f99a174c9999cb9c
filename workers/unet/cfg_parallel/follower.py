"""The life of a follower: another worker runs a job, this one predicts its unconditional branch."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from shared.jobs.record import Job
from shared.logs import log_fields
from workers.families.base import BaseModel
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.channel import BranchChannel, Released, branch_channel
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.cfg_parallel.policy import Preempted, Preemption
from workers.unet.cfg_parallel.uncond_branch import UncondBranch
from workers.unet.restore_weights import restore_weights_on_error
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker


def follow(worker: UNetWorker, message: FollowBranch, name: str) -> str:
    """Follow one attempt under the worker's ``name`` until it is released or preempted; returns the reason.

    The claim comes last: a worker that is killed while it prepares keeps no other from following.
    """
    if not worker.jobs.is_held(message.job_id, message.attempt):
        return "attempt over"
    if name in message.excluded:
        return "excluded"
    job = worker.jobs.get(message.job_id)
    spec = job.spec.with_control_maps(message.control_maps)
    job = job.model_copy(update={"spec": spec})
    channel = branch_channel(worker, message)
    preemption = Preemption(worker, spec, message, name)
    try:
        preemption.check_now()
        if channel.is_claimed():
            return "already followed"
        with ExitStack() as stack:
            stack.enter_context(log_fields(job=job.id, attempt=message.attempt, tenant=job.tenant))
            stack.enter_context(worker.device_loss.translate_errors())
            limit_s = worker.settings.job_timeout_s  # of the job that it follows
            stack.enter_context(worker.watchdog.limit(f"following job {message.job_id}", limit_s))
            stack.enter_context(_shown_in_fleet(worker, spec.model, message.job_id))
            with worker.activity.follow:
                model = stack.enter_context(worker.models.use(spec.model))
                stack.enter_context(worker.models.memory.release_when_full())
                stack.enter_context(worker.prompts.held_for_loras(model, spec))
                stack.enter_context(restore_weights_on_error(worker, model))
                context = _make_context(worker, model, job, message, name, preemption)
                branch = UncondBranch(context)
                stack.callback(branch.close)
            preemption.check()
            if not channel.claim(name):
                return "already followed"
            stack.callback(branch.close_controlnets)
            return _serve_steps(context, channel, branch)
    except Preempted as reason:
        return str(reason)


def _make_context(
    worker: UNetWorker,
    model: BaseModel,
    job: Job,
    message: FollowBranch,
    name: str,
    preemption: Preemption,
) -> AttemptContext:
    return AttemptContext(
        worker=worker,
        model=model,
        spec=job.spec,
        job_id=job.id,
        tenant=job.tenant,
        attempt=message.attempt,
        ordinal=message.ordinal,
        role="follower",
        channel=message.channel,
        timeline=Timeline(name),  # not stored: the responses carry what the job's timeline shows
        check=preemption.check,
    )


@contextmanager
def _shown_in_fleet(worker: UNetWorker, model: str, job_id: str) -> Iterator[None]:
    """Within the block ``/v1/fleet`` shows which job this worker follows."""
    worker.followed_jobs[model] = [job_id]
    try:
        yield
    finally:
        worker.followed_jobs.pop(model, None)


def _serve_steps(context: AttemptContext, channel: BranchChannel, branch: UncondBranch) -> str:
    """Answer steps until the leader releases this worker; raises `Preempted`."""
    worker = context.worker
    channel.respond(branch.ready())
    try:
        while True:
            taken = channel.next_step(worker.cfg_timings.check_every_s)
            context.check()
            worker.overdue_steps.serve_one()
            if taken is not None:
                with worker.activity.follow:
                    response, prediction = branch.predict(*taken)
                channel.respond(response, prediction)
    except Released:
        return "released"
    except Exception as error:
        channel.respond(branch.leaving(is_preempted=isinstance(error, Preempted)))
        raise
