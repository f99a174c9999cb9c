"""How a worker's process ends."""

import subprocess
import sys

import pytest

SCRIPT = """
import atexit, gc
from workers.runtime.process_exit import skip_final_gc

class Collected:
    def __init__(self):
        self.cycle = self

    def __del__(self):
        print("collected")

gc.disable()
if {skips}:
    skip_final_gc()
atexit.register(lambda: print("ending", flush=True))
Collected()
"""


@pytest.mark.parametrize(("skips", "says"), [(True, ["ending"]), (False, ["ending", "collected"])])
def test_the_last_collection_of_garbage_is_left_out(skips: bool, says: list[str]) -> None:
    script = SCRIPT.format(skips=skips)
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.split() == says


#: A pool whose thread waits for a device that hangs: the interpreter would wait for it.
HANGS = """
import threading
from concurrent.futures import ThreadPoolExecutor
from workers.runtime.process_exit import end_within
ThreadPoolExecutor(1).submit(threading.Event().wait)
end_within(0.1, 70)
"""


def test_a_process_that_has_stopped_waits_for_no_thread_that_hangs() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 70
    assert "process ended" in ended.stderr
