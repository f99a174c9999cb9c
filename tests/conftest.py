"""Real servers for every test that needs them: two Redis and one S3, started once a session."""

import gc
import os
import signal
import subprocess
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck
from redis import Redis

from infra.bench.harness.ports import free_ports, free_s3_port
from infra.local.servers import (
    redis_command,
    running_process,
    wait_for_redis,
    wait_for_s3,
    weed_command,
    weed_environment,
)
from shared.redis_clients import control_redis, residual_servers
from shared.settings import Settings
from tests.empty_buckets import EmptyBuckets
from tests.node_scripts import MISSING, NodeScripts, are_installed
from tests.tiers import SERVER_FIXTURES, is_integration, takes_real_time

# One thread, as a worker of the default settings: more would compete with the real workers, and
# change the order of float sums. Read by OpenMP when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

READY_S = 60.0
#: Of a test with servers: its fixtures start them, and its second try counts as well.
TIMEOUT_S = 600


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unit", action="store_true", help="only tests that need no server and take no time")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of the other tier are not even imported. None: ask the next plugin."""
    return True if config.getoption("--unit") and is_integration(collection_path) else None


@pytest.hookimpl(tryfirst=True)  # before tests/fuzz and ``--hypothesis-profile`` name another profile
def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.register_profile(
        "tests",
        derandomize=True,
        database=None,
        deadline=None,  # of an example: the machine may be busy
        suppress_health_check=[HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("tests")
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup, which tests of that signal are not
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "gpu: needs an NVIDIA GPU; set for what uses the fixture `cuda`")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while libraries and tests are imported: millions of objects, which all stay.

    Collections visited them again and again, for half of the time; none visits them during the tests either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist=loadfile``, but for the files that share a fleet. ``None``: xdist's own for other ways."""
    from tests.distribution import FilesAndFleets  # xdist need not be installed

    return FilesAndFleets(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("dist", "no") != "loadfile":
        return
    from tests.distribution import longest_units

    reports = [report for found in terminalreporter.stats.values() for report in found]
    terminalreporter.section("units of tests that took long")
    for unit, took_s in longest_units(one for one in reports if isinstance(one, pytest.TestReport)):
        terminalreporter.write_line(f"{took_s:5.0f} s {unit}")


def needs_servers(item: pytest.Item) -> bool:
    """Whether a test starts servers or other processes, or uses those of this file."""
    return is_integration(item.path) or not SERVER_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.hookimpl(tryfirst=True)  # before ``-m`` selects by markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "cuda" in getattr(item, "fixturenames", ()):
            item.add_marker("gpu")
        # On two cores that three processes of tests share, a few of thousands of tests that use servers, a
        # browser or real time miss a time limit: each is tried once more, and the summary names it.
        if needs_servers(item) or takes_real_time(item.path):
            item.add_marker(pytest.mark.flaky(reruns=1))
        if needs_servers(item) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
    if config.getoption("--unit"):
        needs = {item: needs_servers(item) for item in items}
        config.hook.pytest_deselected(items=[item for item in items if needs[item]])
        items[:] = [item for item in items if not needs[item]]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings that name two running Redis servers and an S3 server; ``AWS_*`` is set meanwhile."""
    home = tmp_path_factory.mktemp("servers")
    control, residual = others = free_ports(2)
    s3 = free_s3_port(others)
    settings = Settings(
        home=home / "run",
        redis_url=f"redis://127.0.0.1:{control}/0",
        residual_redis_url=(f"redis://127.0.0.1:{residual}/0",),
        redis_port=control,
        residual_redis_port=residual,
        s3_port=s3,
        durable_submit="off",  # its cost and its effect are tested in tests/shared/jobs/test_durability.py
    )
    buckets = [settings.lora_bucket, settings.image_bucket]
    weed_env = weed_environment("test-access", "test-secret-key")
    folders = {name: home / name for name in ("control", "residual", "s3")}
    for folder in folders.values():
        folder.mkdir()
    with ExitStack() as running, pytest.MonkeyPatch.context() as environ:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environ.setenv(name, weed_env[name])
        # No test may depend on who runs it.
        environ.setenv("AWS_CONFIG_FILE", str(home / "no-config"))
        environ.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "no-credentials"))
        for command in (
            redis_command(control, folders["control"], persistent=True),
            redis_command(residual, folders["residual"], persistent=False, max_bytes=256 << 20),
            weed_command(s3, folders["s3"], buckets),
        ):
            running.enter_context(started(command, home, weed_env))
        wait_for_redis(settings.redis_url, READY_S)
        wait_for_redis(settings.residual_redis_url[0], READY_S)
        wait_for_s3(settings, READY_S)
        yield settings


@pytest.fixture(scope="session")
def empty_buckets(servers: Settings) -> EmptyBuckets:
    """Empties the buckets of the S3 server."""
    return EmptyBuckets(servers.home.parent / "s3")


@pytest.fixture
def cuda() -> Any:
    """The first GPU as a `Device`; what uses it is skipped where there is none."""
    import torch  # not before OMP_NUM_THREADS is set

    from workers.devices.selection import find_device

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return find_device("cuda")


@pytest.fixture(scope="session")
def node() -> NodeScripts:
    """Scripts of ``tests/node``; what uses them is skipped where Node is missing."""
    if not are_installed():
        pytest.skip(MISSING)
    return NodeScripts()


@pytest.fixture
def control(servers: Settings) -> Redis:
    """The control Redis."""
    return control_redis(servers)


@pytest.fixture
def residual(servers: Settings) -> Redis:
    """The residual Redis."""
    return residual_servers(servers)[0]


def started(
    command: list[str], home: Path, env: Mapping[str, str]
) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return running_process(command, cwd=home, env={**os.environ, **env}, log=home / "servers.log")
