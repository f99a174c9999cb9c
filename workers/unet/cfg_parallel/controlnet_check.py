"""Checks with what a follower has computed its ControlNets: one image has one set of weights of each."""

from collections.abc import Mapping, Sequence

from shared.jobs.receipt import Platform, WorkerReceipt
from workers.transport.protocol import UsedControlNet
from workers.unet.attempt_context import AttemptContext

#: By the ControlNet's position in the job.
Used = Mapping[int, Sequence[UsedControlNet]]


def as_used_here(context: AttemptContext, used: Used, follower: WorkerReceipt | None) -> Used:
    """What a ``follower`` has used, with platforms named where they are other ones than this worker's."""
    here = context.worker.steps.platform_digest
    fields = set(Platform.model_fields)
    own = Platform.model_validate(follower.model_dump(include=fields)) if follower else None

    def as_here(one: UsedControlNet) -> UsedControlNet:
        platform = one.platform or own
        is_here = platform is not None and platform.digest == here
        return one.model_copy(update={"platform": None if is_here else platform})

    return {position: [as_here(one) for one in all_used] for position, all_used in used.items()}


def why_refused(context: AttemptContext, used: Used) -> str | None:
    """Why a prediction may not be used that was computed with these ControlNets; ``None``: it may.

    ``used``: by `as_used_here`. The leader's own branch of the step is computed before.
    """
    for position, all_used in used.items():
        name = context.spec.controlnets[position].name
        wanted = context.platform_of(name)
        for one in all_used:
            if not context.used_controlnets.fits(name, one.sha256):
                return f"it has other weights of ControlNet {name!r}"
            digest = one.platform.digest if one.platform else context.worker.steps.platform_digest
            if wanted and digest != wanted:
                return f"ControlNet {name!r} was computed on another platform than the exact job's"
    return None
