"""``make up``: the whole fleet in the foreground, until Ctrl-C."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from infra.local.checks import INSTALL, CannotStart, check_ports, check_programs, only_stack_in
from infra.local.environment import make_credentials, read_env_file, variables_of, write_env_file
from infra.local.manager import Fleet
from infra.local.plan import Process, find_embedded, folders, plan, resolve
from infra.local.ready import await_ready
from infra.local.respawn import is_alive
from shared.catalogue import read_catalogue
from shared.own_folder import own_folder
from shared.settings import Settings

#: How long the stack may take until it is ready, unless it is asked for otherwise.
READY_S = 120.0
#: Between two looks at the owner of a stack.
OWNER_POLL_S = 1.0
#: How honcho ends when it was told to.
TOLD = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def up(settings: Settings, *, ready_s: float = READY_S, quiet: bool = False, owner: int | None = None) -> int:
    """Run the stack until a signal, or until the process ``owner`` is gone; returns the exit code.

    Raises `SwiftError` if it cannot start; then nothing has.
    """
    settings = resolve(settings)
    read_catalogue(settings.catalog, settings)
    own_folder(settings.home)
    for folder in folders(settings.home):
        folder.mkdir(parents=True, exist_ok=True)
    with only_stack_in(settings.home):
        environment = _make_environment(settings)
        processes = _plan(settings, environment)
        check_ports(settings)
        check_programs(processes)
        _forget_last_run(settings.home)
        urls = {"API_URL": settings.api_url, "FLOWER_URL": settings.flower_url}
        write_env_file(settings.home / "env", {**urls, **environment})
        is_ready = False

        def watch() -> None:
            nonlocal is_ready
            missing = await_ready(settings, processes, ready_s)
            if missing:
                print(_explain(missing, settings.home, ready_s), file=sys.stderr, flush=True)
            else:
                is_ready = True
                (settings.home / "ready").write_text(str(os.getpid()))
                print(_describe(settings), flush=True)
                while owner is None or is_alive(owner):
                    time.sleep(OWNER_POLL_S)
            os.kill(os.getpid(), signal.SIGTERM)

        fleet = Fleet(processes, settings.home, environment, None if quiet else sys.stdout, watch)
        fleet.loop()
        (settings.home / "ready").unlink(missing_ok=True)
    return 0 if is_ready and fleet.returncode in TOLD else 1


def _make_environment(settings: Settings) -> dict[str, str]:
    """The variables every process sees; credentials only where the S3 server is our own."""
    known = read_env_file(settings.home / "env")
    credentials = make_credentials(known) if find_embedded(settings).s3 else {}
    return {**variables_of(settings), **credentials}


def _plan(settings: Settings, environment: Mapping[str, str]) -> list[Process]:
    try:
        return plan(settings, environment)
    except ModuleNotFoundError as error:
        raise CannotStart(f"Python package {error.name} is missing: {INSTALL}") from None


def _forget_last_run(home: Path) -> None:
    for file in (home / "ready", *(home / "logs").glob("*.log"), *(home / "pids").iterdir()):
        file.unlink(missing_ok=True)


def _explain(missing: Mapping[str, str], home: Path, waited_s: float) -> str:
    lines = [f"  {name}: {why} (log: {home / 'logs' / name}.log)" for name, why in missing.items()]
    advice = "A slow start, such as a download, gets more time with --ready-within SECONDS."
    return "\n".join([f"The stack is not ready after {waited_s:g} s:", *lines, advice])


def _describe(settings: Settings) -> str:
    return f"""
The fleet is ready. Ctrl-C stops it.

  API          {settings.api_url}   (try it: {settings.api_url}/docs)
  Flower       {settings.flower_url}
  S3           {settings.s3_endpoint_url}   (LoRAs: bucket {settings.lora_bucket})
  credentials  {settings.home / "env"}
  logs         {settings.home / "logs"}
"""
