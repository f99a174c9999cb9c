"""A small Flux with random weights, its ControlNet and a LoRA, as a catalog: what ``make demo`` can show."""

from pathlib import Path
from typing import NamedTuple

from transformers.utils.logging import disable_progress_bar

from infra.tiny_models.flux import make_flux, make_flux_controlnet
from infra.tiny_models.loras import make_lora

#: Blocks are wide enough that one takes longer than a residual travels.
HEADS, LAYERS, CONTROLNET_LAYERS = 12, (8, 16), (4, 8)


class Files(NamedTuple):
    """What lies in the folder; the ControlNet is named as its folder."""

    catalog: str = "catalog.toml"
    model: str = "tiny-flux"
    controlnet: str = "tiny-flux-controlnet"
    lora: str = "tiny-flux-lora.safetensors"


FILES = Files()
CATALOG = f"""
default_model = "{FILES.model}"

[models.{FILES.model}]
source = "{FILES.model}"

[controlnets.{FILES.controlnet}]
source = "{FILES.controlnet}"
model = "{FILES.model}"
"""


def write_demo_flux(folder: Path) -> None:
    """Write all files into ``folder``; the catalog last."""
    disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    pipe = make_flux(heads=HEADS, layers=LAYERS)
    pipe.save_pretrained(folder / FILES.model)
    double, single = CONTROLNET_LAYERS
    controlnet = make_flux_controlnet(num_attention_heads=HEADS, num_layers=double, num_single_layers=single)
    controlnet.save_pretrained(folder / FILES.controlnet)
    make_lora(pipe, folder / FILES.lora)
    (folder / FILES.catalog).write_text(CATALOG)
