"""Runs one worker under the local stack's supervisor: arguments are a folder, its name and its app."""

import sys
from pathlib import Path

from infra.local.environment import variables_of
from infra.local.plan import Process
from infra.local.supervision.log_files import open_logs
from infra.local.supervision.supervisor import OWN_LOG, Supervisor
from infra.local.supervision.terminal import Terminal
from shared.settings import read_settings

if __name__ == "__main__":
    folder, name, app = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    for part in ("logs", "pids"):
        (folder / part).mkdir(parents=True)
    options = ["-n", f"{name}@test", "--pool=threads", "-E", "--loglevel=INFO"]
    quiet = ["--without-gossip", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "-A", app, "worker", *options, *quiet]
    logs = open_logs(folder / "logs", [OWN_LOG, name], max_bytes=16 << 20, files=2)
    process = Process(name=name, command=command)
    environment = variables_of(read_settings())
    sys.exit(Supervisor([process], folder, environment, logs, Terminal(None)).run())
