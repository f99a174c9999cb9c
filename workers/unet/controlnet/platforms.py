"""Chooses the platform that computes a ControlNet of an exact job, so that each run has the same bits."""

import logging
from collections.abc import Sequence

from redis.exceptions import RedisError

from shared.registry.live_workers import LiveWorkersCache
from shared.registry.workers import Heartbeat

log = logging.getLogger(__name__)


class PlatformChoice:
    """For one attempt: the platform of its worker ``name`` or, where no worker of that can, another one.

    Platforms are named by `Platform.digest`. A ControlNet stays with what was chosen while workers of that
    platform take its steps. Only what the registry has answered decides: until it does, and while nobody
    serves a ControlNet, the own platform is asked, and the next step chooses again.
    """

    def __init__(self, own: str, live_workers: LiveWorkersCache, name: str) -> None:
        self._own, self._live_workers, self._name = own, live_workers, name
        self._chosen: dict[str, str] = {}
        self._failed: set[tuple[str, str]] = set()  # ControlNets and platforms on which nobody computed them

    def choose(self, controlnet: str, *, is_held: bool) -> str:
        """The platform that computes a ControlNet; ``is_held``: its job's worker can do so itself."""
        if controlnet not in self._chosen:
            found = self._own if is_held else self._find(self._workers(), controlnet)
            if found is None:
                return self._own
            self._chosen[controlnet] = found
            if found != self._own:
                log.warning("ControlNet is computed on another platform", extra={"controlnet": controlnet})
        return self._chosen[controlnet]

    def is_misplaced(self, controlnet: str, platform: str, *, is_late: bool) -> bool:
        """Whether nobody of a platform will take a ControlNet's steps, and somebody of another one may.

        ``is_late``: UNet workers that have not loaded it by now will not. ``False`` while nobody knows.
        """
        workers = self._workers()
        takers = [one for one in workers if one.takes_work_for("controlnet", controlnet)]
        if is_late:
            takers = [
                one for one in takers if one.kind == "controlnet" or controlnet in one.loaded_controlnets
            ]
        if any(one.platform == platform for one in takers):
            return False
        return self._find(workers, controlnet, but=platform) is not None

    def choose_another(self, controlnet: str, platform: str) -> bool:
        """Nobody on ``platform`` computes it: choose one that was not tried; whether there is one."""
        found = self._find(self._workers(), controlnet, but=platform)
        if found is not None:
            log.warning("ControlNet is computed on another platform", extra={"controlnet": controlnet})
            self._failed.add((controlnet, platform))
            self._chosen[controlnet] = found
        return found is not None

    def _find(self, workers: Sequence[Heartbeat], controlnet: str, but: str = "") -> str | None:
        """The own platform if other workers of it serve the ControlNet; ``None`` if nobody does.

        Of other platforms the first one by name, so that the next run of the job finds the same.
        """
        found = {one.platform for one in workers if one.takes_work_for("controlnet", controlnet)}
        found = {one for one in found if one and one != but and (controlnet, one) not in self._failed}
        return self._own if self._own in found else min(found, default=None)

    def _workers(self) -> list[Heartbeat]:
        """The others, by the registry; none while it does not answer."""
        try:
            return [worker for worker in self._live_workers.read() if worker.name != self._name]
        except RedisError:
            return []
