"""Chooses the platform that computes a ControlNet of an exact job, so that each run has the same bits."""

import logging

from redis.exceptions import RedisError

from shared.registry.live_workers import LiveWorkersCache
from shared.registry.workers import Heartbeat

log = logging.getLogger(__name__)


class PlatformChoice:
    """For one attempt: the platform of its worker ``name`` or, where no worker of that can, another one.

    Platforms are named by `Platform.digest`. A ControlNet stays with what was chosen.
    """

    def __init__(self, own: str, live_workers: LiveWorkersCache, name: str) -> None:
        self._own, self._live_workers, self._name = own, live_workers, name
        self._chosen: dict[str, str] = {}
        self._failed: set[tuple[str, str]] = set()  # ControlNets and platforms on which nobody computed them

    def choose(self, controlnet: str, *, is_held: bool) -> str:
        """The platform that computes a ControlNet; ``is_held``: its job's worker can do so itself."""
        if controlnet not in self._chosen:
            self._chosen[controlnet] = (not is_held and self._find(controlnet)) or self._own
        return self._chosen[controlnet]

    def choose_another(self, controlnet: str) -> bool:
        """Nobody on the chosen platform computes it: choose one that was not tried; whether there is one."""
        self._failed.add((controlnet, self._chosen[controlnet]))
        found = self._find(controlnet)
        if found is not None:
            self._chosen[controlnet] = found
        return found is not None

    def _find(self, controlnet: str) -> str | None:
        """The own platform if other workers of it serve the ControlNet; ``None`` if nobody does.

        Of other platforms the first one by name, so that the next run of the job finds the same.
        """
        found = {one.platform for one in self._workers() if one.takes_work_for("controlnet", controlnet)}
        found = {one for one in found if one and (controlnet, one) not in self._failed}
        if not found or self._own in found:
            return self._own if found else None
        log.warning("ControlNet is computed on another platform", extra={"controlnet": controlnet})
        return min(found)

    def _workers(self) -> list[Heartbeat]:
        try:
            return [worker for worker in self._live_workers.read() if worker.name != self._name]
        except RedisError:
            return []
