"""A fleet for a bare machine: the processes of the local stack, without those that are not installed.

``python -m infra.bench.parts.gpu.fleet.stack PID`` runs until a signal, or until process PID is gone; its
settings are in the environment. No Flower; where there is no ``weed``, S3 is moto's server; where there is no
gevent, the API runs on threads. UNet workers are instrumented (`unet_app`), and everything else is as
``make up`` starts it, supervision included.
"""

import shutil
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from urllib.parse import urlsplit

from infra.local.environment import make_credentials, make_login, variables_of, write_env_file
from infra.local.plan import Process, folders, plan, resolve
from infra.local.servers import HOST, weed_binary
from infra.local.supervision.log_files import open_logs
from infra.local.supervision.supervisor import OWN_LOG, Supervisor
from infra.local.supervision.terminal import Terminal
from infra.local.up import is_alive
from shared.settings import Settings, read_settings

#: What stands in a command, and what replaces it.
APPS = {"workers.unet.app": "infra.bench.parts.gpu.fleet.unet_app"}
API_WORKER, API_THREADS = "api.server.worker.ApiWorker", "--threads=32"
OWNER_POLL_S = 0.5
LOG_BYTES, LOG_FILES = 64 << 20, 1


def main(owner: int) -> int:
    """Run the processes; returns the exit code."""
    settings = resolve(read_settings())
    for folder in folders(settings.home):
        folder.mkdir(parents=True, exist_ok=True)
    credentials = make_credentials({})
    environment = {**variables_of(settings), **credentials}
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
    return process.name != "flower"


def adapt(process: Process, settings: Settings) -> Process:
    """The process as it can run here."""
    words = [APPS.get(word, word) for word in process.command]
    environment: Mapping[str, str] = process.environment
    if process.name == "s3" and shutil.which(weed_binary()) is None:
        words, environment = (
            moto_command(settings),
            {**environment, "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(1 << 30)},
        )
    if process.name == "api" and find_spec("gevent") is None:
        words = ["gthread" if word == API_WORKER else word for word in words] + [API_THREADS]
    return replace(process, command=words, environment=environment)


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
