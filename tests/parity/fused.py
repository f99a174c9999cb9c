"""diffusers' pipelines with LoRAs in their weights."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from cachetools import LRUCache
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.jobs.spec import LoraRef
from tests.diffusers_peer import fuse
from tests.parity.lora_forms.form import LoraForm

#: Of a family there are fewer LoRAs, and the rows of a family follow each other.
KEPT = 16


def write_lora(form: LoraForm, pipe: Any, path: Path) -> None:
    """Write a LoRA for ``pipe``, and beside it what it adds to weights if diffusers cannot load it."""
    tensors = form.tensors(pipe)
    save_file(tensors, path)
    if form.added is not None:
        save_file(form.added(pipe, tensors), _added_file(path))


class FusedPipelines:
    """Copies of pipelines, each with one job's LoRAs."""

    def __init__(self, folder: Path) -> None:
        """``folder`` has the files of all LoRAs."""
        self._folder = folder
        self._pipelines: LRUCache[tuple[object, ...], Any] = LRUCache(KEPT)

    def get(self, model: str, pipe: Any, loras: Sequence[LoraRef]) -> Any:
        """A copy of the pipeline of ``model`` with ``loras`` fused."""
        key = (model, *((lora.name, lora.scale) for lora in loras))
        if key not in self._pipelines:
            self._pipelines[key] = self._fuse(copy.deepcopy(pipe), loras)
        return self._pipelines[key]

    def _fuse(self, pipe: Any, loras: Sequence[LoraRef]) -> Any:
        files = [(self._folder / f"{lora.name}.safetensors", lora.scale) for lora in loras]
        loaded = [(path, scale) for path, scale in files if not _added_file(path).exists()]
        if loaded:
            fuse(pipe, loaded)
            pipe.unload_lora_weights()  # what is fused stays
        for path, scale in files:
            if _added_file(path).exists():
                for name, change in load_file(_added_file(path)).items():
                    part, _, weight = name.partition(".")
                    getattr(pipe, part).get_parameter(weight).data.add_(change, alpha=scale)
        return pipe


def weights_of(pipe: Any) -> dict[str, Tensor]:
    """The weights of all models of a pipeline, by ``PART.NAME``."""
    models = {part: one for part, one in pipe.components.items() if isinstance(one, nn.Module)}
    return {
        f"{part}.{name}": weight.detach()
        for part, model in models.items()
        for name, weight in model.named_parameters()
    }


def roundings_apart(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest difference of weights, in units of the last place of the largest one in the tensor."""
    assert ours.keys() == theirs.keys()
    return max(
        float((ours[name].float() - other.float()).abs().max() / other.float().abs().max().clamp_min(1e-30))
        / torch.finfo(other.dtype).eps
        for name, other in theirs.items()
    )


def _added_file(path: Path) -> Path:
    return path.with_suffix(".added")
