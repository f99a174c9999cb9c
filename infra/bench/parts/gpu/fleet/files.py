"""The files that a fleet serves: the models of this process, its ControlNets, LoRAs, and a catalog."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.models import Models, make_lora
from infra.bench.parts.gpu.peer import GUIDANCE

ENGINES = ("eager", "graphs", "compile")


def served_engines(device: torch.device) -> tuple[str, ...]:
    """The engines for a device; a CPU has no graphs, and compiles for minutes."""
    return ENGINES if device.type == "cuda" else ENGINES[:1]


def model_name(engine: str) -> str:
    """What the catalog calls the model with that engine: one folder, several entries."""
    return f"sdxl-{engine}"


def catalog(context: Context) -> Path:
    """The catalog of the run's models, written at first use with the files that it names."""

    def write() -> Path:
        write_models(context.models, context.folder / "models")
        path = context.folder / "models" / "catalog.toml"
        path.write_text(describe_catalog(context.models, served_engines(context.device)))
        return path

    path: Path = context.kept("files of the models", write)
    return path


def write_models(models: Models, folder: Path) -> None:
    """A diffusers folder for the pipeline and for each ControlNet."""
    models.pipe.save_pretrained(folder / "sdxl")
    for name, controlnet in models.controlnets.items():
        controlnet.save_pretrained(folder / name)


def describe_catalog(models: Models, engines: Sequence[str]) -> str:
    """The catalog's text. The first engine is the default model's, which a worker loads as it starts."""
    size = models.size
    text = f'default_model = "{model_name(engines[0])}"\n'
    for engine in engines:
        text += f'\n[models.{model_name(engine)}]\nsource = "sdxl"\ndtype = "{size.dtype}"\n'
        text += f'scheduler = "euler"\nnum_inference_steps = {size.steps}\nguidance_scale = {GUIDANCE}\n'
        text += f"width = {size.side_px}\nheight = {size.side_px}\n"
        text += f'engine = "{engine}"\n'
        if engine == "compile":
            text += 'memory_format = "channels_last"\n'
    names = ", ".join(f'"{model_name(engine)}"' for engine in engines)
    for name in models.controlnets:
        text += f'\n[controlnets.{name}]\nsource = "{name}"\nmodel = [{names}]\ndtype = "{size.dtype}"\n'
        if "graphs" in engines:
            text += 'engine = "graphs"\n'
    return text


def lora_file(context: Context, seed: int) -> bytes:
    """A LoRA of the size's rank as a safetensors file."""
    data: bytes = context.kept(
        f"LoRA {seed}", lambda: save(make_lora(context.models.pipe.unet, context.size.lora_rank, seed))
    )
    return data
