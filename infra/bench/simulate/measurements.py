"""What the simulation counts with: times and sizes that were measured, read from a file that says where.

A file is a JSON object: ``name``, ``notes``, and ``values``, which gives each field of `Measurements` as
``{"value": ..., "from": "where it was measured"}``. To refresh one, change it there.
"""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "measured"
#: Devices that are as fast as an H800 with SDXL at 1024²; and those of `infra.bench.timed`.
H800, TIMED = FOLDER / "sdxl_h800.json", FOLDER / "timed.json"


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Times of one kind of device with one family of models; a step's are of both CFG branches in a batch."""

    # --- the device
    unet_s: float  # one step without ControlNets
    encoder_share: float  # of it: until the decoder needs the first residual
    controlnet_s: float  # one ControlNet, one step
    one_branch_share: float  # one CFG branch takes this share of two
    text_s: float  # the prompt
    vae_s: float
    lora_prepare_s: float  # a LoRA that is parsed, until it can be patched; beside the loop
    lora_patch_s: float  # between two steps, for each LoRA
    lora_restore_s: float  # taking out what the last job has left
    # --- processes and links
    job_s: float  # what a job costs its worker beside computing
    store_s: float  # PNG and S3, while the next job runs
    step_s: float  # what a step costs beside computing
    request_s: float  # what a step costs more if others compute its ControlNets
    claim_s: float  # what a step costs more if its requester computes them
    follow_s: float  # what a step costs more if another worker computes a CFG branch
    residual_s: float  # from the end of a ControlNet's step to its residuals at the UNet worker
    model_load_bytes_per_s: float
    lora_parse_bytes_per_s: float
    model_bytes: float
    controlnet_bytes: float
    lora_bytes: tuple[float, float]  # least and most
    # --- a pipeline of diffusers, its models loaded
    plain_lora_s: tuple[float, float, float]  # load, fuse, unfuse, unload of 0, 1, 2 LoRAs
    plain_job_s: float  # what a job costs a plain Celery worker beside the pipeline

    def alone_s(self, steps: int, controlnets: int, loras: int) -> float:
        """Seconds of a job in diffusers, alone on a device that has its models loaded."""
        step_s = self.unet_s + controlnets * self.controlnet_s
        return self.text_s + steps * step_s + self.plain_lora_s[loras] + self.vae_s

    def stretched(self, factor: float, step_factor: float = 1.0) -> "Measurements":
        """The same on devices that take ``factor`` times as long for everything that they sleep for.

        ``step_factor``: besides, for what they do in a step.
        """
        slept = ("unet_s", "controlnet_s", "text_s", "vae_s", "lora_prepare_s", "lora_patch_s")
        changed: dict[str, Any] = {name: factor * getattr(self, name) for name in slept}
        changed |= {name: step_factor * changed[name] for name in ("unet_s", "controlnet_s")}
        changed["plain_lora_s"] = tuple(factor * seconds for seconds in self.plain_lora_s)
        changed["model_load_bytes_per_s"] = self.model_load_bytes_per_s / factor
        return replace(self, **changed)


def read_measurements(path: Path = H800) -> Measurements:
    """Read a file; raises `ValueError` if a value is missing, unknown, or without a source."""
    values = json.loads(path.read_text())["values"]
    wanted = {field.name for field in fields(Measurements)}
    if wrong := wanted ^ set(values):
        raise ValueError(f"{path}: missing or unknown: {', '.join(sorted(wrong))}")
    if unsourced := [name for name, entry in values.items() if not entry["from"]]:
        raise ValueError(f"{path}: where do these come from: {', '.join(unsourced)}")
    given: dict[str, Any] = {
        name: tuple(entry["value"]) if isinstance(entry["value"], list) else entry["value"]
        for name, entry in values.items()
    }
    return Measurements(**given)
