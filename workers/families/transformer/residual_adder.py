"""Adds ControlNets' residuals to what the blocks of a transformer compute."""

from collections.abc import Generator

from torch import Tensor

from shared.errors import ControlNetFailed
from shared.families.controlnets import ControlPlan

#: What a `StagedForward` yields and is sent, on the way to a tensor.
Added = Generator[int, Tensor | None, Tensor]


class ResidualAdder:
    """Asks for each residual of one forward once, keeps it for the blocks that share it, and then lets it go.

    Without a plan it asks once, after the first block, and adds nothing (see `StagedForward`).
    """

    def __init__(self, plan: ControlPlan | None, blocks: int) -> None:
        """``blocks``: how many there are, in the order of `ControlPlan.places`; raises `ControlNetFailed`."""
        if plan is not None and (len(plan.places) != blocks or not plan.wanted):
            raise ControlNetFailed("the ControlNet's config describes none for this model")
        self._plan = plan
        last = {} if plan is None else {index: i for i, index in enumerate(plan.places)}
        self._last = last  # by the residual's index: the last block that takes it
        self._kept: dict[int, Tensor] = {}

    @property
    def kept(self) -> frozenset[int]:
        """The residuals that later blocks still take."""
        return frozenset(self._kept)

    def add(self, block: int, x: Tensor) -> Added:
        """``x``, ``(b, tokens, d)``, is what ``block`` gave; returns it with its residual."""
        if self._plan is None:
            if block == 0:
                yield 0
            return x
        index = self._plan.places[block]
        if index is None:
            return x
        if index not in self._kept:
            self._kept[index] = _checked((yield index), x)
        x = x + self._kept[index]
        if self._last[index] == block:
            del self._kept[index]
        return x


def _checked(residual: Tensor | None, x: Tensor) -> Tensor:
    assert residual is not None, "a ControlNet guides the step"
    if residual.shape != x.shape:
        shapes = f"{tuple(residual.shape)} do not fit the model's {tuple(x.shape)}"
        raise ControlNetFailed(
            f"residuals of shape {shapes}: the ControlNet was made for another model or size"
        )
    return residual
