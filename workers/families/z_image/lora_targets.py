"""Which modules of Z-Image a LoRA file trains: also by the names of its first release, and by Anime-Z's."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from workers.families.transformer.lora_targets import Layers, OriginalModule, TransformerLoraTargets, stack
from workers.lora.targets import LoraTarget

#: How Anime-Z's factors end.
_DOTTED = (".lora.down.weight", ".lora.up.weight")
#: Layers that its files have a second time: query, key and value as one, and the one that follows.
_REPEATED = re.compile(r"^(.*\battention[._]|.*_attention_)(qkv|out)$")
_ATTENTION: Layers = {
    "attention.qkv": ("attention.to_q", "attention.to_k", "attention.to_v"),
    "attention.q_norm": "attention.norm_q",
    "attention.k_norm": "attention.norm_k",
    "attention.out": "attention.to_out.0",
    **{f"attention.to.{projection}": f"attention.to_{projection}" for projection in "qkv"},
}


class ZImageLoraTargets(TransformerLoraTargets):
    """See `TransformerLoraTargets`; what Anime-Z's files say twice is left out, as diffusers does."""

    def find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, LoraTarget | None]]:
        """See `LoraTargets`."""
        repeated = {stem for stem in groups if _is_repeated(stem, groups)}
        yield from ((stem, None) for stem in repeated)
        yield from super().find({stem: groups[stem] for stem in groups if stem not in repeated})


def z_image_lora_targets(parts: Mapping[str, nn.Module]) -> ZImageLoraTargets:
    """Of a model with these ``parts``."""
    return ZImageLoraTargets(parts, _original_modules)


def _is_repeated(stem: str, groups: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether the file has all layers in place of the one that is called ``stem``, too."""
    match = _REPEATED.match(stem)
    if match is None or not _is_dotted(groups[stem]):
        return False
    before, layer = match.groups()
    names = ["out_0", "out.0"] if layer == "out" else ["q", "k", "v"]
    there = [any(_is_dotted(groups.get(f"{before}to{dot}{name}", {})) for dot in "._") for name in names]
    return any(there) if layer == "out" else all(there)


def _is_dotted(roles: Mapping[str, str]) -> bool:
    return all(roles.get(role, "").endswith(end) for role, end in zip("ab", _DOTTED, strict=True))


def _original_modules(transformer: Any) -> Iterator[OriginalModule]:
    # Of several patch sizes the first release has one.
    if len(transformer.all_x_embedder) == 1:
        (patch,) = transformer.all_x_embedder
        yield OriginalModule("x_embedder", (f"all_x_embedder.{patch}",))
        final = {"linear": "linear", "adaLN_modulation.1": "adaLN_modulation.1"}
        yield from stack("final_layer", f"all_final_layer.{patch}", final)
    for blocks in ("noise_refiner", "context_refiner", "layers"):
        for i in range(len(getattr(transformer, blocks))):
            yield from stack(f"{blocks}.{i}", f"{blocks}.{i}", _ATTENTION)
