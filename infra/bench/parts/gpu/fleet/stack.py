"""A fleet for a bare machine: the processes of the local stack, without those that are not installed.

``python -m infra.bench.parts.gpu.fleet.stack PID`` runs until a signal, or until process PID is gone; its
settings are in the environment. No Flower; where there is no ``weed``, S3 is moto's server. UNet workers
are instrumented (`unet_app`), and everything else is as ``make up`` starts it, supervision included.
"""

import os
import shutil
import sys
import threading
import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from infra.local.environment import inherit, make_credentials, make_login, variables_of, write_env_file
from infra.local.plan import Process, folders, plan, resolve
from infra.local.servers import HOST, weed_binary
from infra.local.supervision.log_files import open_logs
from infra.local.supervision.supervisor import OWN_LOG, Supervisor
from infra.local.supervision.terminal import Terminal
from infra.local.up import is_alive
from shared.settings import ROOT, Settings, read_settings

#: What stands in a command, and what replaces it.
APPS = {"workers.unet.app": "infra.bench.parts.gpu.fleet.unet_app"}
OWNER_POLL_S = 0.5
PACKAGE = "swiftdiffusion"
LOG_BYTES, LOG_FILES = 64 << 20, 1


def main(owner: int) -> int:
    """Run the processes; returns the exit code."""
    settings = resolve(read_settings())
    for folder in folders(settings.home):
        folder.mkdir(parents=True, exist_ok=True)
    credentials = make_credentials({})
    environment = {**variables_of(settings), **credentials}
    environment |= describe_package(settings.home)
    planned = plan(settings, {**environment, **make_login({})})
    processes = [adapt(process, settings) for process in planned if is_here(process)]
    write_env_file(settings.home / "env", {"API_URL": settings.api_url, **environment})
    names = [OWN_LOG, *(process.name for process in processes)]
    logs = open_logs(settings.home / "logs", names, max_bytes=LOG_BYTES, files=LOG_FILES)
    supervisor = Supervisor(processes, settings.home, environment, logs, Terminal(None))
    threading.Thread(target=_watch, args=(owner, supervisor), daemon=True).start()
    supervisor.run()
    return 0


def is_here(process: Process) -> bool:
    """Whether a process is part of a benchmark's fleet."""
    return process.name not in ("flower", "webhooks")


def adapt(process: Process, settings: Settings) -> Process:
    """The process as it can run here."""
    words = [APPS.get(word, word) for word in process.command]
    environment: Mapping[str, str] = process.environment
    if process.name == "s3" and shutil.which(weed_binary()) is None:
        words, environment = (
            moto_command(settings),
            {**environment, "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(1 << 30)},
        )
    return replace(process, command=words, environment=environment)


def describe_package(home: Path) -> dict[str, str]:
    """Variables that let processes find this package's version where it runs from its source alone."""
    try:
        metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        folder = home / "package" / f"{PACKAGE}-{release}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {release}\n")
        found = inherit({}).get("PYTHONPATH")
        return {"PYTHONPATH": os.pathsep.join([str(folder.parent), *([found] if found else [])])}
    return {}


def moto_command(settings: Settings) -> list[str]:
    """An S3 server in memory, in place of the embedded one."""
    assert settings.s3_endpoint_url is not None
    port = urlsplit(settings.s3_endpoint_url).port
    return [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]


def _watch(owner: int, supervisor: Supervisor) -> None:
    while is_alive(owner):
        time.sleep(OWNER_POLL_S)
    supervisor.stop()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
