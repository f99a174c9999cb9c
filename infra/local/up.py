"""``make up``: the whole fleet in the foreground, until Ctrl-C or ``make down``."""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from api.server.exposure import check_exposure
from infra.local.bootstrap_key import BootstrapKey, keep_bootstrap_key
from infra.local.checks import (
    INSTALL,
    CannotStart,
    check_model_names,
    check_models,
    check_ports,
    check_programs,
    only_stack_in,
)
from infra.local.devices.checks import check_devices, describe_unused_gpus
from infra.local.environment import (
    make_credentials,
    make_login,
    read_env_file,
    stack_variables,
    visible_gpus,
    write_env_file,
)
from infra.local.plan import Process, find_embedded, folders, plan, resolve
from infra.local.ready import GIVE_UP_AFTER, await_flower, await_ready
from infra.local.start_display import StartDisplay, describe_stack
from infra.local.supervision.log_files import open_logs, rotate_logs
from infra.local.supervision.supervisor import OWN_LOG, Supervisor
from infra.local.supervision.terminal import Terminal
from shared.catalog.catalog import read_catalog
from shared.settings import Settings
from workers.runtime.trusted_directory import trusted_directory

#: How long the stack may take until it is ready, unless it is asked for otherwise.
READY_S = 120.0
#: Seconds between two polls of the owner, and between two tries to write the file ``ready``.
OWNER_POLL_S = 1.0
#: How long to wait for Flower to have inspected all workers.
FLOWER_S = 10.0


def up(settings: Settings, *, ready_s: float = READY_S, quiet: bool = False, owner: int | None = None) -> int:
    """Run the stack until a signal, or until the process ``owner`` is gone; returns the exit code.

    Raises `SwiftError` if it cannot start; then nothing has.
    """
    check_exposure(settings, [settings.api_host])
    settings = resolve(settings)
    catalog = read_catalog(settings.catalog, settings)
    check_model_names(settings, catalog)
    check_models(settings, catalog)
    check_devices(settings, has_controlnets=bool(catalog.controlnets))
    with _written(settings.home):
        trusted_directory(settings.home, setting="SWIFT_HOME")
        for folder in folders(settings.home):
            folder.mkdir(parents=True, exist_ok=True)
    with only_stack_in(settings.home) as lock:
        settings, key = _with_key(settings)
        environment, login = _make_environment(settings, key)
        processes = _plan(settings, {**environment, **login})
        check_ports(settings)
        check_programs(processes)
        with _written(settings.home):
            _clear_last_run(settings)
            urls = {"API_URL": settings.api_url, "FLOWER_URL": settings.flower_url}
            write_env_file(settings.home / "env", {**urls, **login, **environment})
        limits = {"max_bytes": settings.log_bytes, "files": settings.log_files}
        names = [OWN_LOG, *(process.name for process in processes)]
        logs = open_logs(settings.home / "logs", names, **limits)
        terminal = Terminal(None if quiet else sys.stdout)
        terminal.show(f"Starting the fleet. Logs: {settings.home / 'logs'}")
        supervisor = Supervisor(processes, settings.home, environment, logs, terminal, [lock])
        flower_login = (login["FLOWER_USER"], login["FLOWER_PASSWORD"])
        watch = _Watch(settings, processes, supervisor, terminal, flower_login, ready_s, owner)
        threading.Thread(target=watch.run, name="watch", daemon=True).start()
        signal_number = supervisor.run()
        with suppress(OSError):
            (settings.home / "ready").unlink(missing_ok=True)
    return 0 if watch.is_ready and signal_number else 1


class _Watch:
    """Announces that the stack is ready; stops it if it does not get ready, or if its owner is gone."""

    def __init__(
        self,
        settings: Settings,
        processes: list[Process],
        supervisor: Supervisor,
        terminal: Terminal,
        flower_login: tuple[str, str],
        ready_s: float,
        owner: int | None,
    ) -> None:
        self._settings = settings
        self._processes = processes
        self._supervisor = supervisor
        self._display = StartDisplay(terminal, processes)
        self._flower_login = flower_login
        self._ready_s = ready_s
        self._owner = owner
        self.is_ready = False

    def run(self) -> None:
        """Watch until the process ends."""
        began = time.monotonic()
        missing = await_ready(self._settings, self._processes, self._ready_s, self._display.update)
        waited_s = time.monotonic() - began
        self._display.end()
        if missing:
            explanation = explain_missing(missing, self._settings.home, waited_s, self._ready_s)
            print(explanation, file=sys.stderr, flush=True)
            self._supervisor.stop()
            return
        workers = sum(process.worker is not None for process in self._processes)
        await_flower(self._settings, self._flower_login, workers, FLOWER_S)
        self.is_ready = True
        self._announce()
        is_written = False
        while self._owner is None or is_alive(self._owner):
            is_written = is_written or _write(self._settings.home / "ready", str(os.getpid()))
            time.sleep(OWNER_POLL_S)
        self._supervisor.stop()

    def _announce(self) -> None:
        """Show addresses, also where logs are not shown: they are what a stack in the background returns."""
        terminal = Terminal(sys.stdout)
        terminal.show("The fleet is ready. `make down` or Ctrl-C stops it.")
        terminal.show_table(describe_stack(self._settings, self._flower_login, self._processes))
        if advice := describe_unused_gpus(self._settings):
            terminal.show(advice)
        terminal.flush()


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def explain_missing(missing: Mapping[str, str], home: Path, waited_s: float, ready_s: float) -> str:
    """Why the stack was given up: ``ready_s`` without progress, or a process was restarted too often."""
    lines = [f"  {name}: {why} (log: {home / 'logs' / name}.log)" for name, why in missing.items()]
    if waited_s < ready_s:
        what = f"a process was restarted {GIVE_UP_AFTER} times before the stack was ready"
        return "\n".join([f"The stack was given up after {waited_s:.0f} s, because {what}:", *lines])
    advice = "A slow start, such as a download, gets more time with --ready-within SECONDS."
    return "\n".join([f"The stack is not ready after {waited_s:.0f} s:", *lines, advice])


def _with_key(settings: Settings) -> tuple[Settings, BootstrapKey | None]:
    """The settings with a bootstrap key, if the API asks for keys; a new one is shown this once."""
    if settings.auth == "off":
        return settings, None
    with _written(settings.home):
        key = keep_bootstrap_key(settings)
    if key.is_new:
        terminal = Terminal(sys.stdout)  # also where logs are not shown
        terminal.show(f"A new API key with all scopes, shown this once and kept in {key.path}: {key.text}")
        terminal.flush()
    return settings.model_copy(update={"bootstrap_key": key.text}), key


def _make_environment(settings: Settings, key: BootstrapKey | None) -> tuple[dict[str, str], dict[str, str]]:
    """The variables every process sees, with S3 credentials where the server is our own; Flower's login."""
    known = read_env_file(settings.home / "env")
    credentials = make_credentials(known) if find_embedded(settings).s3 else {}
    variables = stack_variables(settings, key.path if key is not None else None)
    return {**variables, **credentials}, make_login(known, settings.flower_basic_auth)


def _plan(settings: Settings, environment: Mapping[str, str]) -> list[Process]:
    try:
        return plan(settings, environment, visible_gpus())
    except ModuleNotFoundError as error:
        raise CannotStart(f"Python package {error.name} is missing: {INSTALL}") from None


@contextmanager
def _written(home: Path) -> Iterator[None]:
    """Turn a full disk and the like into one sentence."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"SWIFT_HOME={home} cannot be written: {error.strerror}") from None


def _clear_last_run(settings: Settings) -> None:
    rotate_logs(settings.home / "logs", settings.log_files)
    for file in (settings.home / "ready", *(settings.home / "pids").iterdir()):
        file.unlink(missing_ok=True)


def _write(path: Path, text: str) -> bool:
    """Write the file in one step; returns whether it was written."""
    try:
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)
    except OSError:
        return False
    return True
