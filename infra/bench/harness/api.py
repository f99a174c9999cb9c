"""The API alone, without workers, on servers that it shares with the next one that is started."""

import http.client
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from infra.bench.harness.ports import free_ports, free_s3_port
from infra.bench.harness.report import CheckFailed
from infra.local.environment import inherit, make_credentials, variables_of
from infra.local.plan import ALLOCATOR
from infra.local.servers import (
    redis_command,
    running_process,
    wait_for_redis,
    weed_command,
    weed_environment,
)
from shared.settings import ROOT, Settings

READY_S = 60.0
#: They answer once the API reaches Redis and S3; there are no workers, so ``/readyz`` never does.
SERVER_PATHS = ("/v1/fleet", "/v1/loras")

Address = tuple[str, int]


class Api(NamedTuple):
    """A running one: where it is asked, gunicorn's process, its control Redis, its servers' variables."""

    address: Address
    pid: int
    redis_url: str
    environment: Mapping[str, str]


#: Starts an API with these options of gunicorn, under a name for its log.
StartApi = Callable[[str, Sequence[str]], AbstractContextManager[Api]]


@contextmanager
def running_api_servers(
    home: Path, *, key: str | None = None, variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[StartApi]:
    """Fresh Redis and S3 for the length of the block, in ``home``; yields what starts an API on them.

    With a ``key`` the API asks for keys, and this one has all scopes; it believes what a proxy would tell it.
    ``variables``: further settings of the API.
    """
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    control, residual = others = free_ports(2)
    settings = Settings(
        home=home,
        redis_url=f"redis://127.0.0.1:{control}/0",
        residual_redis_url=(f"redis://127.0.0.1:{residual}/0",),
        s3_port=free_s3_port(others),
    )
    keys = make_credentials({})
    weed = weed_environment(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    buckets = [settings.lora_bucket, settings.image_bucket]
    with ExitStack() as running:
        for name, command in (
            ("control", redis_command(control, home / "control", persistent=True)),
            ("residual", redis_command(residual, home / "residual", persistent=False)),
            ("s3", weed_command(settings.s3_port, home / "s3", buckets)),
        ):
            (home / name).mkdir()
            log = home / f"{name}.log"
            running.enter_context(running_process(command, cwd=home, env=inherit(weed), log=log))
        wait_for_redis(settings.redis_url, READY_S)
        auth = {"SWIFT_AUTH": "keys", "SWIFT_BOOTSTRAP_KEY": key, "SWIFT_TRUSTED_PROXIES": "1"} if key else {}
        environment = inherit({**variables_of(settings), **keys, **ALLOCATOR, **auth, **variables})
        yield partial(running_api, home, environment)


@contextmanager
def running_api(
    home: Path, environment: Mapping[str, str], name: str, options: Sequence[str]
) -> Iterator[Api]:
    """An API on servers that run already; its log is in ``home``, under ``name``."""
    (port,) = free_ports(1)
    words = [sys.executable, "-m", "gunicorn", "api.wsgi:app", "--no-control-socket"]
    words += ["--graceful-timeout", "1", "--bind", f"127.0.0.1:{port}", *options]
    with running_process(words, cwd=ROOT, env=environment, log=home / f"{name}.log") as process:
        address = ("127.0.0.1", port)
        deadline = time.monotonic() + READY_S
        key = environment.get("SWIFT_BOOTSTRAP_KEY")
        while any(ask(address, "GET", path, timeout_s=5, key=key) != 200 for path in SERVER_PATHS):
            if time.monotonic() > deadline:
                raise CheckFailed("the API is not ready")
            time.sleep(0.1)
        yield Api(address, process.pid, environment["SWIFT_REDIS_URL"], environment)


def ask(
    address: Address,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    timeout_s: float,
    key: str | None = None,
) -> int:
    """The status of an answer; 0 if none comes in time."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with closing(http.client.HTTPConnection(*address, timeout=timeout_s)) as connection:
        try:
            connection.request(method, path, body, headers)
            return connection.getresponse().status
        except OSError:
            return 0
