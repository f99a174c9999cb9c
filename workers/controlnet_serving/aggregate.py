"""Sums the residuals of ControlNets that one worker computed for one job, where diffusers sums them, too."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from shared.errors import ControlNetFailed
from workers.controlnet_serving.forward import BatchedForward
from workers.transport.protocol import StepRequest, UsedControlNet
from workers.transport.step_queue import ClaimedStep


class AggregatedResidual(NamedTuple):
    """One residual of one job: of one ControlNet, or summed over several in the order of the job."""

    steps: list[ClaimedStep]  # the parts that it sums
    residual: Tensor
    batch: int  # jobs that were computed in one forward pass
    used: dict[int, UsedControlNet]  # by position


class ResidualAggregator:
    """Forward passes whose residuals are handed over together, each ControlNet's in the same order."""

    def __init__(self, forwards: Sequence[BatchedForward]) -> None:
        self._forwards = list(forwards)
        if any(forward.controlnet.order != forwards[0].controlnet.order for forward in forwards):
            raise ControlNetFailed("the ControlNets of one job have residuals of different layouts")

    @property
    def is_shared(self) -> bool:
        """Whether a job waits here for the computation of another part, which may not be needed any more."""
        return len(self._forwards) > 1 or self._forwards[0].batch > 1

    def drop_superseded(self, are_current: Callable[[Sequence[StepRequest]], list[bool]]) -> None:
        """Drop the steps of jobs that are past them, as ``are_current`` says of all in one call."""
        requests = {_key(step): step.request for forward in self._forwards for step in forward.steps}
        flags = dict(zip(requests, are_current(list(requests.values())), strict=True)) if requests else {}
        for forward in self._forwards:
            forward.drop_superseded([flags[_key(step)] for step in forward.steps])

    @property
    def order(self) -> tuple[int, ...]:
        """The indices of the residuals, in the order in which the base models need them."""
        return self._forwards[0].controlnet.order

    @property
    def requests(self) -> list[StepRequest]:
        """Of the steps that are computed, each once."""
        return list(
            {_key(step): step.request for forward in self._forwards for step in forward.steps}.values()
        )

    def residuals(self, index: int) -> Iterator[AggregatedResidual]:
        """Residual ``index`` of every job; called for each of `order`, in that order."""
        by_step: dict[str, list[AggregatedResidual]] = {}
        for forward in self._forwards:
            for step, residual in forward.residual(index):
                used = {step.part.position: forward.used}
                single = AggregatedResidual([step], residual, forward.batch, used)
                by_step.setdefault(_key(step), []).append(single)
        for singles in by_step.values():
            yield from _summed(singles)


def _key(step: ClaimedStep) -> str:
    """Equal for the parts of one step."""
    return f"{step.request.job_id} {step.request.step_token}"


def _summed(singles: Sequence[AggregatedResidual]) -> Iterator[AggregatedResidual]:
    """Sum the first ControlNets of a job, ``(r0 + r1) + r2``, as far as they are here; others stay single.

    With a lossy codec all stay single: the image must not depend on which ControlNets one worker computed.
    """
    request = singles[0].steps[0].request
    if request.residual_precision != "exact":
        yield from singles
        return
    by_position = {single.steps[0].part.position: single for single in singles}
    total: AggregatedResidual | None = None
    for part in request.parts:
        single = by_position.pop(part.position, None)
        if single is None:
            break
        total = single if total is None else _plus(total, single)
    if total is not None:
        yield total
    yield from by_position.values()


def _plus(total: AggregatedResidual, single: AggregatedResidual) -> AggregatedResidual:
    return AggregatedResidual(
        [*total.steps, *single.steps],
        total.residual + single.residual,
        max(total.batch, single.batch),
        total.used | single.used,
    )
