"""How timed devices sleep: written beside their catalog, read by every worker. Needs no torch."""

import json
from pathlib import Path
from typing import NamedTuple

#: Beside the catalog: `Times`, as JSON.
FILE = "times.json"
#: A LoRA of 341 MiB on its way into memory, on an H800.
LORA_LOAD_S = 1.0


class Times(NamedTuple):
    """How the devices of a catalog sleep: longer than an H800 takes, so that few cores carry many of them."""

    stretch: float = 1.0  # times as long, for everything
    #: Times as long besides, for a step: an image of fewer, longer steps takes as long as on an H800.
    step_stretch: float = 1.0
    #: Slept for each LoRA on its way into memory, before it is stretched; 0 where files have their real size.
    lora_load_s: float = LORA_LOAD_S


def write_times(folder: Path, times: Times) -> None:
    """Write them into the folder of a catalog."""
    (folder / FILE).write_text(json.dumps(times._asdict()))


def read_times(catalog: Path) -> Times:
    """What lies beside a catalog."""
    return Times(**json.loads(catalog.with_name(FILE).read_text()))
