"""With what the ControlNets of one attempt were computed until now, as the receipt will say it."""

from collections.abc import Mapping, Sequence

from shared.errors import ControlNetChanged
from shared.jobs.receipt import MAX_PLATFORMS, ControlNetReceipt
from shared.jobs.spec import JobSpec
from workers.transport.protocol import StepResponse, UsedControlNet


class UsedControlNets:
    """All branches of an attempt note here what they used; earlier attempts count, too.

    Only the attempt's thread uses it.
    """

    def __init__(self, spec: JobSpec) -> None:
        self._is_exact = spec.is_exact
        self._receipts = [ControlNetReceipt(name=one.name, sha256="") for one in spec.controlnets]
        self.used: dict[int, UsedControlNet] = {}  # by position: the latest of this attempt
        self._since: dict[int, list[UsedControlNet]] = {}  # by position: what `take_since` has not returned

    @property
    def receipts(self) -> list[ControlNetReceipt]:
        """In the job's order."""
        return list(self._receipts)

    def go_on(self, receipts: Sequence[ControlNetReceipt]) -> None:
        """An earlier attempt has computed the steps before; none if ``receipts`` is empty."""
        self._receipts = list(receipts) or self._receipts

    def record(self, response: StepResponse) -> None:
        """Note what has computed the residuals of a response, before they are used.

        Raises `ControlNetChanged` if a ControlNet has other weights than in the steps before.
        """
        for position, used in response.used.items():
            self._check(self._receipts[position].name, used.sha256, response.worker)
        for position in response.positions:
            receipt = self._receipts[position]
            if response.batch > receipt.batch:
                self._receipts[position] = receipt.model_copy(update={"batch": response.batch})
        for position, used in response.used.items():
            if used not in self._since.setdefault(position, []):
                self._since[position].append(used)
            if used != self.used.get(position):
                self.used[position] = used
                self._receipts[position] = _with(self._receipts[position], used)

    def take_since(self) -> dict[int, list[UsedControlNet]]:
        """By the ControlNet's position: all that was used since the last call."""
        since, self._since = self._since, {}
        return since

    def record_follower(self, used: Mapping[int, Sequence[UsedControlNet]]) -> None:
        """Note what has computed a follower's branch of a step: what of it this attempt has not used itself.

        The caller has checked that it `fits`; platforms are named where they are not this worker's.
        """
        for position, all_used in used.items():
            for one in all_used:
                receipt = self._receipts[position]
                with_it = _with(receipt, one)
                self._receipts[position] = (
                    receipt.model_copy(update={"other_platforms": with_it.other_platforms})
                    if receipt.sha256
                    else with_it
                )

    def fits(self, name: str, sha256: str) -> bool:
        """Whether the steps before were computed with these weights of a ControlNet, or with none yet."""
        known = self._known(name)
        return not known or sha256 in known

    def _check(self, name: str, sha256: str, worker: str) -> None:
        if not self.fits(name, sha256):
            raise ControlNetChanged(
                f"ControlNet {name!r} has other weights on {worker} than in the steps before:"
                f" they were {min(self._known(name))}, they are {sha256} there"
            )

    def _known(self, name: str) -> set[str]:
        return {one.sha256 for one in self._receipts if one.name == name and one.sha256}

    def warnings(self) -> list[str]:
        """What the client of an exact job is told."""
        return [
            f"ControlNet {one.name!r} was computed on another platform than the base model, as nobody on that"
            " one could: another run may differ in the last bits"
            for one in self._receipts
            if self._is_exact and one.other_platforms
        ]


def _with(receipt: ControlNetReceipt, used: UsedControlNet) -> ControlNetReceipt:
    others = receipt.other_platforms
    if used.platform is not None and used.platform not in others and len(others) < MAX_PLATFORMS:
        others = [*others, used.platform]
    changes = {
        "sha256": used.sha256,
        "engine": used.engine,
        "memory_format": used.memory_format,
        "other_platforms": others,
    }
    return receipt.model_copy(update=changes)
