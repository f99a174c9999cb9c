"""Models of every architecture in one catalog: the embedded one, and tiny ones with random weights.

Each has a ControlNet and a LoRA, which are named after it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformers.utils.logging import disable_progress_bar

from infra.emoji_files import EMOJI, LORA
from infra.tiny_models.flux import make_flux, make_flux_controlnet
from infra.tiny_models.loras import make_lora
from infra.tiny_models.qwen_image import make_qwen_image, make_qwen_image_controlnet
from infra.tiny_models.sd3 import make_sd3, make_sd3_controlnet
from infra.tiny_models.sdxl import make_sdxl, make_sdxl_controlnet
from infra.tiny_models.z_image import make_z_image, make_z_image_controlnet
from workers.runtime.weights.source import estimate_bytes


class Maker(NamedTuple):
    """Makes a pipeline, and a ControlNet for it."""

    pipeline: Callable[[], Any]
    controlnet: Callable[[Any], Any]


MAKERS: Mapping[str, Maker] = {
    "tiny-sdxl": Maker(make_sdxl, lambda pipe: make_sdxl_controlnet(pipe.unet)),
    "tiny-flux": Maker(make_flux, lambda _: make_flux_controlnet()),
    "tiny-sd3": Maker(make_sd3, lambda _: make_sd3_controlnet()),
    "tiny-qwen-image": Maker(make_qwen_image, lambda _: make_qwen_image_controlnet()),
    "tiny-z-image": Maker(make_z_image, lambda _: make_z_image_controlnet()),
}
#: Folders of models and ControlNets that are there already.
_EMBEDDED = {"emoji-sd": (EMOJI / "model", EMOJI / "controlnets" / "edge")}
MODELS = (*_EMBEDDED, *MAKERS)


class MixedCatalog(NamedTuple):
    """The files of a catalog, by the models' names."""

    path: Path
    models: Mapping[str, Path]
    controlnets: Mapping[str, Path]
    loras: Mapping[str, Path]

    @property
    def memory_bytes(self) -> int:
        """So much that about half of the models fit, and each of them."""
        sizes = [estimate_bytes(str(folder), "float32") for folder in self.models.values()]
        return max(sum(sizes) // 2, max(sizes) + min(sizes))


def controlnet_of(model: str) -> str:
    """The name of its ControlNet."""
    return f"{model}-controlnet"


def lora_of(model: str) -> str:
    """The name of its LoRA."""
    return f"{model}-lora"


def write_mixed_catalog(folder: Path) -> MixedCatalog:
    """Write everything into ``folder``."""
    disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    models = {name: folders[0] for name, folders in _EMBEDDED.items()}
    controlnets = {name: folders[1] for name, folders in _EMBEDDED.items()}
    loras = dict.fromkeys(_EMBEDDED, LORA)
    for name, make in MAKERS.items():
        pipe = make.pipeline()
        models[name], controlnets[name] = folder / name, folder / controlnet_of(name)
        loras[name] = folder / f"{lora_of(name)}.safetensors"
        pipe.save_pretrained(models[name])
        make.controlnet(pipe).save_pretrained(controlnets[name])
        make_lora(pipe, loras[name], parts=["unet" if hasattr(pipe, "unet") else "transformer"])
    lines = [f'default_model = "{MODELS[0]}"']
    for name, source in models.items():
        lines += [f"[models.{name}]", f'source = "{source.resolve()}"']
        lines += [f"[controlnets.{controlnet_of(name)}]", f'source = "{controlnets[name].resolve()}"']
        lines += [f'model = "{name}"']
    path = folder / "catalog.toml"
    path.write_text("\n".join(lines) + "\n")
    return MixedCatalog(path, models, controlnets, loras)
