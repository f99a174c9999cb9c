"""The residuals of one step that are here: single ones and sums, joined as diffusers sums them."""

from collections.abc import Sequence

from torch import Tensor

from workers.devices.base import Device, DeviceCopy


class ReceivedResiduals:
    """By index, and by the positions of the ControlNets that each sums."""

    def __init__(self, positions: Sequence[int], device: Device) -> None:
        """``positions``: of the step's parts, in the order in which they are summed."""
        self._positions, self._device = list(positions), device
        self._received: dict[int, dict[tuple[int, ...], DeviceCopy]] = {}
        self._summed: dict[int, tuple[int, ...]] = {}  # by index: the first parts, if they were computed here
        self._taken: set[int] = set()

    def add(self, index: int, positions: tuple[int, ...], residual: DeviceCopy) -> None:
        """A residual has come; the first one counts, as a later one has the same bits."""
        if index not in self._taken:
            self._received.setdefault(index, {}).setdefault(positions, residual)

    def add_computed(self, index: int, position: int, residual: Tensor) -> None:
        """One was computed here: added to the sum of those before it, if all of these were, as then there is
        no transfer to wait for. So several ControlNets take the memory of one."""
        if index in self._taken or position not in self.missing(index):
            return
        received = self._received.setdefault(index, {})
        before = tuple(self._positions[: self._positions.index(position)])
        is_next = self._summed.get(index, ()) == before
        if is_next and before:
            residual = received.pop(before).follow() + residual
        positions = (*before, position) if is_next else (position,)
        if is_next:
            self._summed[index] = positions
        received[positions] = DeviceCopy(self._device, residual, self._device.record())

    @property
    def size_bytes(self) -> int:
        """Of what is kept, on the device."""
        return sum(copy.size_bytes for received in self._received.values() for copy in received.values())

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
        self._taken.add(index)
        return total
