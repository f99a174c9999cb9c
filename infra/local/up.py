"""``make up``: the whole fleet in the foreground, until Ctrl-C or ``make down``."""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.local.checks import (
    INSTALL,
    CannotStart,
    check_device,
    check_models,
    check_ports,
    check_programs,
    only_stack_in,
)
from infra.local.environment import (
    make_credentials,
    make_login,
    read_env_file,
    variables_of,
    write_env_file,
)
from infra.local.log_files import Terminal, open_logs, set_aside
from infra.local.plan import Process, find_embedded, folders, plan, resolve
from infra.local.ready import await_flower, await_ready
from infra.local.supervisor import OWN_LOG, Supervisor
from shared.catalog.catalog import read_catalog
from shared.settings import Settings
from workers.runtime.trusted_directory import trusted_directory

#: How long the stack may take until it is ready, unless it is asked for otherwise.
READY_S = 120.0
#: Between two looks at the owner of a stack, and between two tries to say that it is ready.
OWNER_POLL_S = 1.0
#: Flower may take so long to hear of all workers.
FLOWER_S = 10.0


def up(settings: Settings, *, ready_s: float = READY_S, quiet: bool = False, owner: int | None = None) -> int:
    """Run the stack until a signal, or until the process ``owner`` is gone; returns the exit code.

    Raises `SwiftError` if it cannot start; then nothing has.
    """
    settings = resolve(settings)
    check_models(settings, read_catalog(settings.catalog, settings))
    check_device(settings.device)
    with _written(settings.home):
        trusted_directory(settings.home, setting="SWIFT_HOME")
        for folder in folders(settings.home):
            folder.mkdir(parents=True, exist_ok=True)
    with only_stack_in(settings.home) as lock:
        environment, login = _make_environment(settings)
        processes = _plan(settings, {**environment, **login})
        check_ports(settings)
        check_programs(processes)
        with _written(settings.home):
            _forget_last_run(settings)
            urls = {"API_URL": settings.api_url, "FLOWER_URL": settings.flower_url}
            write_env_file(settings.home / "env", {**urls, **login, **environment})
        limits = {"max_bytes": settings.log_bytes, "files": settings.log_files}
        names = [OWN_LOG, *(process.name for process in processes)]
        logs = open_logs(settings.home / "logs", names, **limits)
        terminal = Terminal(None if quiet else sys.stdout)
        terminal.show(f"Starting the fleet; its logs are in {settings.home / 'logs'}")
        supervisor = Supervisor(processes, settings.home, environment, logs, terminal, [lock])
        watch = _Watch(settings, processes, supervisor, ready_s, owner)
        watch.flower_login = (login["FLOWER_USER"], login["FLOWER_PASSWORD"])
        threading.Thread(target=watch.run, name="watch", daemon=True).start()
        signal_number = supervisor.run()
        with suppress(OSError):
            (settings.home / "ready").unlink(missing_ok=True)
    return 0 if watch.is_ready and signal_number else 1


class _Watch:
    """Says when the stack is ready, and stops it when it does not get so far or its owner is gone."""

    def __init__(
        self,
        settings: Settings,
        processes: list[Process],
        supervisor: Supervisor,
        ready_s: float,
        owner: int | None,
    ) -> None:
        self._settings = settings
        self._processes = processes
        self._supervisor = supervisor
        self._ready_s = ready_s
        self._owner = owner
        self.flower_login = ("", "")
        self.is_ready = False

    def run(self) -> None:
        """Watch until the process ends."""
        missing = await_ready(self._settings, self._processes, self._ready_s)
        if missing:
            print(_explain(missing, self._settings.home, self._ready_s), file=sys.stderr, flush=True)
            self._supervisor.stop()
            return
        workers = sum(process.is_worker for process in self._processes)
        await_flower(self._settings, self.flower_login, workers, FLOWER_S)
        self.is_ready = True
        with suppress(OSError):
            print(_describe(self._settings), flush=True)
        is_written = False
        while self._owner is None or is_alive(self._owner):
            is_written = is_written or _write(self._settings.home / "ready", str(os.getpid()))
            time.sleep(OWNER_POLL_S)
        self._supervisor.stop()


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _make_environment(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """The variables every process sees, with S3 credentials where the server is our own; Flower's login."""
    known = read_env_file(settings.home / "env")
    credentials = make_credentials(known) if find_embedded(settings).s3 else {}
    return {**variables_of(settings), **credentials}, make_login(known)


def _plan(settings: Settings, environment: Mapping[str, str]) -> list[Process]:
    try:
        return plan(settings, environment)
    except ModuleNotFoundError as error:
        raise CannotStart(f"Python package {error.name} is missing: {INSTALL}") from None


@contextmanager
def _written(home: Path) -> Iterator[None]:
    """Turn a full disk and the like into one sentence."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"SWIFT_HOME={home} cannot be written: {error.strerror}") from None


def _forget_last_run(settings: Settings) -> None:
    set_aside(settings.home / "logs", settings.log_files)
    for file in (settings.home / "ready", *(settings.home / "pids").iterdir()):
        file.unlink(missing_ok=True)


def _write(path: Path, text: str) -> bool:
    """Have the file appear whole; returns whether the disk took it."""
    try:
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)
    except OSError:
        return False
    return True


def _explain(missing: Mapping[str, str], home: Path, waited_s: float) -> str:
    lines = [f"  {name}: {why} (log: {home / 'logs' / name}.log)" for name, why in missing.items()]
    advice = "A slow start, such as a download, gets more time with --ready-within SECONDS."
    return "\n".join([f"The stack is not ready after {waited_s:g} s:", *lines, advice])


def _describe(settings: Settings) -> str:
    return f"""
The fleet is ready. `make down` stops it, and so does Ctrl-C where it runs in the foreground.

  API          {settings.api_url}   (try it: {settings.api_url}/docs)
  Flower       {settings.flower_url}   (login: FLOWER_USER, FLOWER_PASSWORD)
  S3           {settings.s3_endpoint_url}   (LoRAs: bucket {settings.lora_bucket})
  credentials  {settings.home / "env"}
  logs         {settings.home / "logs"}
"""
