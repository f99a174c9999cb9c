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
