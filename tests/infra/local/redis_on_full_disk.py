"""A real control Redis on a disk that may be full: its files may grow to a limit only."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import ResponseError

from infra.bench.harness.ports import free_ports
from infra.local.servers import redis_command, wait_for_redis
from tests.infra.local.waiting import eventually

READY_S = 30.0


@contextmanager
def running_server(folder: Path) -> Iterator[tuple[Redis, psutil.Process]]:
    """A persistent Redis, killed at the end. It ignores SIGXFSZ: writes past a limit end at the limit."""
    [port] = free_ports(1)
    command = redis_command(port, folder, persistent=True)
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, restore_signals=False)
    try:
        wait_for_redis(f"redis://127.0.0.1:{port}/0", READY_S)
        yield Redis(port=port, decode_responses=True), psutil.Process(server.pid)
    finally:
        server.kill()
        server.wait()


def limit_files(server: psutil.Process, size: int = resource.RLIM_INFINITY) -> None:
    """Let no file of the server grow beyond ``size`` bytes."""
    server.rlimit(psutil.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def write(redis: Redis, *names: str) -> None:
    """Set keys, and wait until they are on the disk."""
    for name in names:
        redis.set(name, "1")
    redis.execute_command("WAITAOF", 1, 0, 10_000)


def rewrite(redis: Redis) -> None:
    """Have the append-only file written anew, which opens one that is not appended to."""
    redis.bgrewriteaof()
    assert eventually(lambda: not redis.info("persistence")["aof_rewrite_in_progress"])


def latest_log(folder: Path) -> Path:
    return max(folder.glob("appendonlydir/*.incr.aof"))


def write_in_part(redis: Redis, server: psutil.Process, log: Path, length: int) -> None:
    """Let the disk take the beginning of a write, and later the rest."""
    assert eventually(lambda: log.stat().st_size)
    limit_files(server, log.stat().st_size + length)

    def is_refused() -> bool:
        try:
            redis.set("full", 100 * "x")
        except ResponseError:
            return True
        return False

    assert eventually(is_refused)
    limit_files(server)
    assert eventually(lambda: redis.info("persistence")["aof_last_write_status"] == "ok")
