"""Runs a fleet of one server and one client until it is told to stop: what `test_manager.py` looks at.

python small_fleet.py HOME
"""

import sys
from pathlib import Path

from infra.local.manager import Fleet
from infra.local.plan import Process

#: Says when it was told to stop.
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
    for folder in ("logs", "pids"):
        (home / folder).mkdir()
    command = [sys.executable, "-c", PROGRAM]
    processes = [
        Process(name="server", command=command, is_server=True),
        Process(name="client", command=command),
    ]
    fleet = Fleet(processes, home, {}, None, (home / "started").touch)
    fleet.loop()
    sys.exit(fleet.returncode)
