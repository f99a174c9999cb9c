"""What leaves a worker that computed one or several ControlNets of a job: sums, where diffusers sums, too."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from shared.errors import ControlNetFailed
from workers.controlnet_serving.forward import BatchedForward
from workers.transport.protocol import StepRequest
from workers.transport.step_queue import ClaimedStep


class ResidualShare(NamedTuple):
    """One residual of one job, on its way: of a ControlNet, or of several in the order in which they
    are summed."""

    works: list[ClaimedStep]
    residual: Tensor
    batch: int  # jobs that were computed in one pass
    hashes: dict[int, str]  # position: of the net's weights


class ResidualAggregator:
    """Passes whose results are handed over together, deepest first."""

    def __init__(self, passes: Sequence[BatchedForward]) -> None:
        self._passes = list(passes)
        if any(one.controlnet.order() != passes[0].controlnet.order() for one in passes):
            raise ControlNetFailed("nets of one job differ in their layout")

    @property
    def is_shared(self) -> bool:
        """Whether somebody would wait for work that another may not want any more."""
        return len(self._passes) > 1 or self._passes[0].batch > 1

    def keep(self, current: Callable[[Sequence[StepRequest]], list[bool]]) -> None:
        """Forget jobs that have moved on; ``current`` says of each request whether it is waited for."""
        for one in self._passes:
            if one.works:
                one.keep(current([work.request for work in one.works]))

    def order(self) -> list[int]:
        """The indices of the residuals, deepest first."""
        return self._passes[0].controlnet.order()

    def residuals(self, index: int) -> Iterator[ResidualShare]:
        """Residual ``index`` of every job."""
        made: dict[str, list[ResidualShare]] = {}
        for one in self._passes:
            for work, residual in one.residual(index):
                share = ResidualShare(
                    [work], residual, one.batch, {work.part.position: one.controlnet.sha256}
                )
                made.setdefault(f"{work.request.job_id} {work.request.step_token}", []).append(share)
        for shares in made.values():
            yield from _summed(shares)


def _summed(shares: Sequence[ResidualShare]) -> Iterator[ResidualShare]:
    """Sum the first ControlNets of a job, ``(r0 + r1) + r2``, as far as they are here; the others stay alone.

    With a loss on the way all stay alone: which ControlNets are here must not change the picture.
    """
    if shares[0].works[0].request.residual_precision != "exact":
        yield from shares
        return
    by_position = {share.works[0].part.position: share for share in shares}
    total: ResidualShare | None = None
    for part in shares[0].works[0].request.parts:
        share = by_position.pop(part.position, None)
        if share is None:
            break
        total = share if total is None else _plus(total, share)
    if total is not None:
        yield total
    yield from by_position.values()


def _plus(total: ResidualShare, share: ResidualShare) -> ResidualShare:
    return ResidualShare(
        [*total.works, *share.works],
        total.residual + share.residual,
        max(total.batch, share.batch),
        total.hashes | share.hashes,
    )
