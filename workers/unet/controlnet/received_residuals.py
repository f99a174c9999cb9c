"""The residuals of one step that are here: single ones and sums, joined as diffusers sums them."""

from collections.abc import Sequence

from torch import Tensor

from workers.devices.base import DeviceCopy


class ReceivedResiduals:
    """By index, and by the positions of the ControlNets that each sums."""

    def __init__(self, positions: Sequence[int]) -> None:
        """``positions``: of the step's parts, in the order in which they are summed."""
        self._positions = list(positions)
        self._received: dict[int, dict[tuple[int, ...], DeviceCopy]] = {}

    def add(self, index: int, positions: tuple[int, ...], residual: DeviceCopy) -> None:
        """A residual has come; the first one counts, as a later one has the same bits."""
        self._received.setdefault(index, {}).setdefault(positions, residual)

    def missing(self, index: int) -> list[int]:
        """The positions of the parts whose residual ``index`` has not come."""
        came = {position for positions in self._received.get(index, {}) for position in positions}
        return [position for position in self._positions if position not in came]

    def take(self, index: int) -> Tensor | None:
        """``(r0 + r1) + r2``, from single residuals and from sums that begin with the first ControlNet.

        ``None`` while one is missing; else it is kept no longer.
        """
        received = self._received.get(index, {})
        waiting = self._positions
        found = []
        while waiting:
            fitting = [key for key in received if key == tuple(waiting[: len(key)])]
            if not fitting:
                return None
            found.append(max(fitting, key=len))
            waiting = waiting[len(found[-1]) :]
        total = received[found[0]].follow()
        for positions in found[1:]:
            total = total + received[positions].follow()
        del self._received[index]
        return total
