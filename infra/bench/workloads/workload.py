"""A workload: the folder of a model, its ControlNets and LoRAs, made on first use, then kept."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.bench.harness.report import FOLDER

MODELS = FOLDER / "models"
#: Files of LoRAs of rank `LORA_RANK`.
LORAS, LORA_RANK = ("a", "b"), 16


@dataclass(frozen=True)
class Workload:
    """A model that is there, with its ControlNets and LoRAs."""

    name: str  # in its catalog
    folder: Path
    controlnets: tuple[str, ...]
    side_px: int
    #: What all of its jobs say besides.
    job_fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def catalog(self) -> Path:
        """The file for ``SWIFT_CATALOG``."""
        return self.folder / "catalog.toml"

    @property
    def model(self) -> Path:
        """A folder that diffusers loads."""
        return self.folder / self.name

    @property
    def loras(self) -> tuple[Path, ...]:
        """LoRA files of rank `LORA_RANK`, in fp16; a workload may have none."""
        files = [self.folder / f"{self.name}-lora-{name}.safetensors" for name in LORAS]
        return tuple(file for file in files if file.exists())

    def controlnet(self, name: str) -> Path:
        """The folder of one of its ControlNets."""
        return self.folder / name


def made_once(workload: Workload, make: Callable[[Path], None]) -> Workload:
    """The workload, which ``make`` has put into its folder, now or earlier; it takes up to a minute."""
    if not workload.folder.exists():
        print(f"  making the models of workload {workload.name}, once, in {workload.folder}", flush=True)
        part = workload.folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        make(part)
        part.rename(workload.folder)
    return workload


def catalog_text(model: str, controlnets: tuple[str, ...]) -> str:
    """The text of a catalog of one model and its ControlNets, whose folders lie beside it."""
    parts = [f'default_model = "{model}"\n\n[models.{model}]\nsource = "{model}"\n']
    parts += (f'\n[controlnets.{name}]\nsource = "{name}"\nmodel = "{model}"\n' for name in controlnets)
    return "".join(parts)
