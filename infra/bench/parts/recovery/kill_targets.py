"""Who does what in a running job, and what has become of those who were ended."""

import os
import signal
import time
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]
from redis import Redis, RedisError

from infra.bench.harness.fleet import Fleet
from infra.bench.harness.report import CheckFailed
from shared import keys
from shared.registry.workers import live_workers
from workers.transport.keys import cfg_claim_key, claims_key

RESIDUAL_REDIS = "residual-redis"
#: A worker that was ended is back, its model loaded, within this.
BACK_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True)
class Kill:
    """A signal that ended a process."""

    target: str  # as the stack calls the process
    pid: int
    at: float  # seconds since the epoch
    step: int  # how many of its job's steps were reported by then


class KillTargets:
    """The processes of a fleet, by what they do for a job at this moment."""

    def __init__(self, fleet: Fleet) -> None:
        self._stack = fleet.stack
        self._count = sum(name.startswith("unet") for name in fleet.stack.pids())
        self._control = Redis.from_url(fleet.stack.env["SWIFT_REDIS_URL"], decode_responses=True)
        self._residual = Redis.from_url(fleet.stack.env["SWIFT_RESIDUAL_REDIS_URL"], decode_responses=True)

    # --- who it is: ``None`` if nobody can be told apart right now --------------------------------

    def server(self, job_id: str) -> str | None:
        """The UNet worker that computes a ControlNet for the job's step at hand."""
        if not self._residual.exists(claims_key(job_id)):
            return None
        own = self.unet_worker(job_id)
        others = {name: pid for name, pid in self._stack.pids().items() if name.startswith("unet")}
        busy = [name for name, pid in others.items() if name != own and not is_waiting(self._residual, pid)]
        return busy[0] if own and len(busy) == 1 else None

    def follower(self, job_id: str) -> str | None:
        """The UNet worker that predicts the job's unconditional half."""
        for key in self._residual.scan_iter(cfg_claim_key(job_id, "*", "*")):
            return _process(self._residual.get(key))
        return None

    def residual_redis(self, job_id: str) -> str | None:
        """The server, at a moment when a step is in its hands."""
        return RESIDUAL_REDIS if self.server(job_id) else None

    def unet_worker(self, job_id: str) -> str | None:
        """The UNet worker that generates the job."""
        return _process(self._control.hget(keys.job(job_id), "worker"))

    # --- what is done to them ---------------------------------------------------------------------

    def end(self, target: str, number: signal.Signals, step: int) -> Kill:
        """Send a process the signal that ends it, when ``step`` were reported; the supervisor restarts it."""
        pid = self._stack.pids()[target]
        kill = Kill(target, pid, time.time(), step)
        os.kill(pid, number)
        return kill

    def counted_attempts(self, job_id: str) -> int:
        """Attempts of a job that count: of those that may not fail it too often."""
        names = ("attempts", "hand_overs", "infrastructure_losses")
        attempts, *others = (int(value or 0) for value in self._control.hmget(keys.job(job_id), names))
        return attempts - sum(others)

    def wait_until_loaded(self, controlnet: str) -> None:
        """Wait until every worker has loaded the ControlNet, so that no job waits for that."""
        deadline = time.monotonic() + BACK_S
        while True:
            workers = live_workers(self._control)
            if len(workers) == self._count and all(controlnet in one.loaded_controlnets for one in workers):
                return
            if time.monotonic() > deadline:
                raise CheckFailed(f"not every worker has loaded {controlnet} after {BACK_S:.0f} s")
            time.sleep(POLL_S)

    def whole_after(self, kill: Kill) -> float:
        """Wait until the target is back; seconds from the kill until then.

        A worker is back when it reports itself with its weights loaded, a server when it is started.
        """
        deadline = time.monotonic() + BACK_S
        while (back_at := self._back_at(kill)) is None:
            if time.monotonic() > deadline:
                raise CheckFailed(f"{kill.target} is not back {BACK_S:.0f} s after it was killed")
            time.sleep(POLL_S)
        return back_at - kill.at

    def _back_at(self, kill: Kill) -> float | None:
        if self._stack.pids().get(kill.target, kill.pid) == kill.pid:
            return None
        if kill.target == RESIDUAL_REDIS:
            return self._started_at(kill.target) if _answers(self._residual) else None
        pid = self._stack.pids()[kill.target]
        return next((beat.started_at for beat in live_workers(self._control) if beat.pid == pid), None)

    def _started_at(self, name: str) -> float:
        return (self._stack.home / "pids" / f"{name}.pid").stat().st_mtime


def is_waiting(redis: "Redis", pid: int) -> bool:
    """Whether a process waits for the head of a list at this server."""
    clients = redis.client_list()
    blocked = {client["addr"] for client in clients if client["cmd"] == "blpop" and "b" in client["flags"]}
    ends = [link.laddr for link in psutil.Process(pid).net_connections("tcp")]
    return not blocked.isdisjoint(f"{end.ip}:{end.port}" for end in ends)


def _process(worker: object) -> str | None:
    """What the stack calls a worker."""
    return str(worker).partition("@")[0] if worker else None


def _answers(redis: "Redis") -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False
