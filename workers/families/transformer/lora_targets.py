"""Which modules of a transformer and its text encoders a LoRA file trains, by any of their names.

A module has the name that diffusers gives it, and mostly another that its authors do: theirs may be several
of the model's as one. Files spell either with dots or with underscores, after one of the prefixes below.
diffusers looks at a few keys of a file and takes the others to be of the same kind; here every key is looked
up alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from shared.storage.lora_modules import DIFFUSERS_PREFIX, PEFT_PREFIX, TRANSFORMER_PREFIXES
from workers.lora.targets import LEFT_OUT, FileRows, LoraTarget

#: diffusers' older names of what a CLIP text encoder's attention has.
_OLD_CLIP = {".q_proj": ".to_q", ".k_proj": ".to_k", ".v_proj": ".to_v", ".out_proj": ".to_out"}


class OriginalModule(NamedTuple):
    """A module as the model's authors name it, and the ones that the model has in its place."""

    name: str
    ours: tuple[str, ...]  # several: one below the other
    swaps_halves: bool = False  # its rows are shift and scale, the model's are scale and shift


#: Of a block, by its authors' names of them: the layers that the model has in their place.
Layers = Mapping[str, str | tuple[str, ...]]
#: A transformer's modules under its authors' names.
OriginalModules = Callable[[nn.Module], Iterable[OriginalModule]]


def same_names(transformer: nn.Module) -> Iterable[OriginalModule]:
    """Of authors whose names are diffusers'."""
    return ()


@dataclass(frozen=True)
class TransformerLoraTargets:
    """See `LoraTargets`; one part is ``transformer``."""

    parts: Mapping[str, nn.Module]
    original_modules: OriginalModules
    #: The parts of text encoders by what stands before their modules' names, but for the part itself.
    text_encoders: Mapping[str, str] = field(default_factory=dict)
    #: Modules that files have and text encoders lack, as such files name them: they are left out.
    absent: frozenset[str] = frozenset()
    #: Whether of a file in kohya's words that names modules twice, as diffusers does and otherwise, only what
    #: has diffusers' prefix is read.
    prefers_diffusers_prefix: bool = False

    def find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, LoraTarget | None]]:
        """See `LoraTargets`."""
        found = list(self._find(groups))
        if self.prefers_diffusers_prefix and _is_kohyas(groups) and _names_twice(found):
            found = [one for one in found if one[0].startswith(DIFFUSERS_PREFIX)]
            found += [(stem, LEFT_OUT) for stem in groups if not stem.startswith(DIFFUSERS_PREFIX)]
        yield from found

    def _find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, LoraTarget]]:
        prefixes = dict.fromkeys(TRANSFORMER_PREFIXES, "transformer") | {
            f"{part}.": part for part in self.parts
        }
        prefixes |= {prefix: part for prefix, part in self.text_encoders.items() if part in self.parts}
        names = {part: self._names(part) for part in self.parts}
        for stem in groups:
            name = stem.removeprefix(PEFT_PREFIX)
            prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
            part = prefixes.get(prefix, "transformer")
            if name in self.absent:
                yield stem, LEFT_OUT
            for target in names[part].get(name.removeprefix(prefix), ()):
                yield stem, target

    def _names(self, part: str) -> dict[str, tuple[LoraTarget, ...]]:
        """What each name in a file means in ``part``, spelt with dots and with underscores."""
        model = self.parts[part]
        modules = _modules(model)
        dotted: dict[str, tuple[LoraTarget, ...]] = {}
        if part == "transformer":
            dotted = {one.name: _targets(one, modules) for one in self.original_modules(model)}
        for name in modules:
            dotted |= dict.fromkeys(_spellings(part, name), (LoraTarget(part, name),))
        return {name.replace(".", "_"): targets for name, targets in dotted.items()} | dotted


def _is_kohyas(groups: Mapping[str, Mapping[str, str]]) -> bool:
    return any(key.endswith(".lora_down.weight") for keys in groups.values() for key in keys.values())


def _names_twice(found: Iterable[tuple[str, LoraTarget]]) -> bool:
    """Whether modules are named with diffusers' prefix and again with another."""
    names: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    for stem, target in found:
        names[stem.startswith(DIFFUSERS_PREFIX)].add((target.part, target.name))
    return not names[True].isdisjoint(names[False])


def stack(theirs: str, ours: str, layers: Layers) -> Iterator[OriginalModule]:
    """The ``layers`` of a block that its authors call ``theirs``."""
    for name, inner in layers.items():
        names = (inner,) if isinstance(inner, str) else inner
        yield OriginalModule(f"{theirs}.{name}", tuple(f"{ours}.{name}" for name in names))


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """Those with a weight of their own, by name."""
    own = {name for name, _ in model.named_parameters()}
    return {name: module for name, module in model.named_modules() if f"{name}.weight" in own}


def _targets(original: OriginalModule, modules: Mapping[str, nn.Module]) -> tuple[LoraTarget, ...]:
    """The modules in its place; none where the model lacks them, as the last block of some does."""
    if not all(name in modules for name in original.ours):
        return ()
    heights = [len(modules[name].get_parameter("weight")) for name in original.ours]
    total = sum(heights)
    if original.swaps_halves:
        halves = slice(total // 2, total), slice(0, total // 2)
        return (LoraTarget("transformer", original.ours[0], FileRows(halves, total)),)
    if len(original.ours) == 1:
        return (LoraTarget("transformer", original.ours[0]),)
    ends = [sum(heights[: i + 1]) for i in range(len(heights))]
    return tuple(
        LoraTarget("transformer", name, FileRows((slice(end - height, end),), total))
        for name, height, end in zip(original.ours, heights, ends, strict=True)
    )


def _spellings(part: str, name: str) -> Iterator[str]:
    """transformers 5 dropped the level ``text_model`` of text encoders, which files name."""
    yield name
    if part == "transformer":
        return
    bare = name.removeprefix("text_model.")
    old = next((bare.removesuffix(end) + was for end, was in _OLD_CLIP.items() if bare.endswith(end)), bare)
    for spelling in (bare, old):
        yield from (spelling, f"text_model.{spelling}")
