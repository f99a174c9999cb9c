"""Runs one server and one client until it is asked to stop: what `test_supervisor.py` tests.

python small_fleet.py HOME [SERVER] [CLIENT]: Python programs, by default such as run until asked to stop.
"""

import sys
from pathlib import Path

from infra.local.home_lock import hold
from infra.local.plan import Process
from infra.local.supervision.log_files import open_logs
from infra.local.supervision.supervisor import OWN_LOG, Supervisor
from infra.local.supervision.terminal import Terminal

#: Says when it was asked to stop.
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("runs", flush=True)
try:
    time.sleep(600)
finally:
    time.sleep(0.3)
    print("stopped at", time.monotonic(), flush=True)
"""

if __name__ == "__main__":
    home = Path(sys.argv[1])
    server, client = (*sys.argv[2:], *[PROGRAM] * (4 - len(sys.argv)))
    for folder in ("logs", "pids"):
        if not (home / folder).is_symlink():
            (home / folder).mkdir()
    command = [sys.executable, "-c", server, str(home)]
    processes = [
        Process(name="server", command=command, is_server=True, append_only=home / "server"),
        Process(name="client", command=[sys.executable, "-c", client, str(home)]),
    ]
    logs = open_logs(home / "logs", [OWN_LOG, "server", "client"], max_bytes=10_000, files=2)
    with hold(home) as lock:
        supervisor = Supervisor(processes, home, {}, logs, Terminal(sys.stdout), [lock])
        sys.exit(supervisor.run())
