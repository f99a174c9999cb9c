"""What can be known of a catalog's models and ControlNets without loading them: from the configs in their
folders.

Of single files and hub ids nothing is known before they are loaded, but of ControlNets whose weights' shapes
tell it, and nothing of models that have left the catalog, which jobs and receipts may name still: questions
about them return ``None``.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shared.catalog.controlnet_bases import Base, sharing_problem
from shared.catalog.controlnet_files import derive_config
from shared.catalog.entries import HUB, SINGLE_FILE, Catalog, locate
from shared.errors import InvalidSafetensors
from shared.families.base import Config, FamilyFacts, JobDefaults, Mode, usual_defaults
from shared.families.controlnets import ControlNetTraits, ModelSignature, incompatibility
from shared.families.registry import denoisers, families, family_of, family_of_controlnet
from shared.storage.safetensors_header import read_header


class ModelFamilies:
    """Answers for the names of one catalog."""

    def __init__(self, path: Path, catalog: Catalog) -> None:
        self._path = path
        self._catalog = catalog
        self._configs: dict[tuple[str, str], dict[str, Any] | None] = {}  # source and file name: its JSON
        self._file_configs: dict[str, Config | None] = {}  # of ControlNets in single files, by source
        #: By model, of which families it was found: a request asks for it a dozen times.
        self._facts: dict[str, tuple[tuple[FamilyFacts, ...], FamilyFacts | None]] = {}

    def facts(self, model: str) -> FamilyFacts | None:
        """The facts of a base model's family."""
        if model not in self._catalog.models:
            return None  # names of others are not kept: anybody may ask
        known, (asked, facts) = families(), self._facts.get(model, ((), None))
        if asked != known:
            facts = family_of(self._denoisers(model))
            self._facts[model] = known, facts
        return facts

    def signature(self, model: str) -> ModelSignature | None:
        """The signature of a base model."""
        facts, configs = self.facts(model), self._denoisers(model)
        return None if facts is None else facts.signature(configs[facts.denoiser])

    def denoiser_config(self, model: str) -> dict[str, Any] | None:
        """The config of the network that denoises."""
        facts = self.facts(model)
        return None if facts is None else self._denoisers(model)[facts.denoiser]

    def is_inpainting(self, model: str) -> bool | None:
        """Whether the model was trained to inpaint: it takes a mask and a masked image as well."""
        facts, configs = self.facts(model), self._denoisers(model)
        return None if facts is None else facts.is_inpainting(configs[facts.denoiser])

    def missing_parts(self, model: str) -> frozenset[str]:
        """The optional parts of its family that a base model is known to lack."""
        facts, index = self.facts(model), self._of_model(model, "model_index.json")
        return (
            frozenset() if facts is None or index is None else facts.optional_parts - {*facts.parts_of(index)}
        )

    def scheduler_config(self, model: str) -> dict[str, Any] | None:
        """The scheduler config of a base model: its own, with the options that the catalog sets."""
        own = self.own_scheduler_config(model)
        return None if own is None else {**own, **self._catalog.models[model].scheduler_config}

    def own_scheduler_config(self, model: str) -> dict[str, Any] | None:
        """The scheduler config that a base model comes with."""
        return self._of_model(model, "scheduler/scheduler_config.json")

    def default_size(self, model: str) -> tuple[int, int] | None:
        """Width and height in pixels of a model's images unless a job asks for others, as in diffusers."""
        facts = self.facts(model)
        return None if facts is None else facts.default_size(self._part_configs(model, facts))

    def largest_side(self, model: str) -> int | None:
        """The most pixels that a side of a model's images may have, if its configs limit it."""
        facts = self.facts(model)
        return None if facts is None else facts.largest_side(self._part_configs(model, facts))

    def job_defaults(self, model: str, mode: Mode, *, has_controlnets: bool) -> JobDefaults:
        """What a job of a base model has that says nothing else: what the catalog says, else its family."""
        facts, entry = self.facts(model), self._catalog.models[model]
        usual = (
            usual_defaults(mode)
            if facts is None
            else facts.job_defaults(mode, has_controlnets=has_controlnets)
        )
        said = entry.model_fields_set & {*usual._fields}
        return usual._replace(**{name: getattr(entry, name) for name in said})

    def usual_size(self, model: str) -> tuple[int, int] | None:
        """The same, or what the catalog says in its place."""
        entry, own = self._catalog.models.get(model), self.default_size(model)
        if entry is None:
            return None
        width, height = entry.width or (own and own[0]), entry.height or (own and own[1])
        return (width, height) if width and height else None

    def text_encoder_configs(self, model: str) -> dict[str, Config]:
        """The configs of a base model's text encoders, by part."""
        facts = self.facts(model)
        found = {} if facts is None else self._part_configs(model, facts)
        return {part: config for part, config in found.items() if facts and part in facts.tokenizers}

    def size_multiple(self, model: str) -> int:
        """The sides of a model's images must be divisible by this, in pixels."""
        return (self.facts(model) or FamilyFacts).size_multiple

    def image_multiple(self, model: str) -> int:
        """What sides that a job takes from its image are rounded down to: a multiple that any family takes,
        where the model's is not known."""
        facts = self.facts(model)
        return math.lcm(*(one.size_multiple for one in (families() if facts is None else [facts])))

    def controlnet(self, name: str) -> ControlNetTraits | None:
        """What there is to know of a ControlNet."""
        config = self.controlnet_config(name)
        facts = None if config is None else family_of_controlnet(config)
        return None if config is None or facts is None else facts.controlnet_traits(config)

    def controlnet_modes(self, name: str) -> frozenset[Mode] | None:
        """What jobs may generate from that a ControlNet guides."""
        config = self.controlnet_config(name)
        facts = None if config is None else family_of_controlnet(config)
        return None if config is None or facts is None else facts.modes_with(facts.controlnet_traits(config))

    def controlnet_config(self, name: str) -> Config | None:
        """The config of a ControlNet."""
        entry = self._catalog.controlnets[name]
        source = entry.config or entry.source
        if not source.endswith(SINGLE_FILE) or source.startswith(HUB):
            return self._read(source, "config.json")
        if source not in self._file_configs:
            self._file_configs[source] = _derive_config(locate(self._path, source))
        return self._file_configs[source]

    def reads_guidance_scale(self, model: str, controlnets: Iterable[str]) -> bool | None:
        """Whether a job with these ControlNets reads its ``guidance_scale``."""
        facts, config = self.facts(model), self.denoiser_config(model)
        others = [self.controlnet_config(name) for name in controlnets]
        if facts is None or config is None:
            return None
        known = [other for other in others if other is not None]
        return facts.reads_guidance_scale(config, known) or (None if len(known) < len(others) else False)

    def incompatibility(self, controlnet: str, model: str) -> str | None:
        """Why a ControlNet cannot guide a base model, as far as that is known."""
        traits, signature = self.controlnet(controlnet), self.signature(model)
        if traits is not None and signature is not None:
            why = incompatibility(controlnet, traits.signature, model, signature)
            if why is not None:
                return why
        config = self.controlnet_config(controlnet)
        if config is None:
            return None
        entry = self._catalog.controlnets[controlnet]
        first = entry.models[0] if entry.models else model
        return sharing_problem(controlnet, entry, config, self._base(first), self._base(model))

    def family(self, model: str) -> str | None:
        """The name of a base model's family."""
        facts = self.facts(model)
        return None if facts is None else facts.name

    def of_family(self, family: str, controlnet: str) -> list[str]:
        """The base models that are known to be of a family, but for those that ``controlnet`` cannot
        guide."""
        return [
            model
            for model in self._catalog.models
            if self.family(model) == family and self.incompatibility(controlnet, model) is None
        ]

    def _base(self, model: str) -> Base:
        return Base(model, self._catalog.models[model], self.denoiser_config(model))

    def _part_configs(self, model: str, facts: FamilyFacts) -> dict[str, Config]:
        found = {part: self._of_model(model, f"{part}/config.json") for part in facts.parts}
        return {part: config for part, config in found.items() if config is not None}

    def _denoisers(self, model: str) -> dict[str, dict[str, Any]]:
        """The configs by which the family is known, by part."""
        found = {part: self._of_model(model, f"{part}/config.json") for part in denoisers()}
        return {part: config for part, config in found.items() if config is not None}

    def _of_model(self, model: str, name: str) -> dict[str, Any] | None:
        entry = self._catalog.models.get(model)
        return None if entry is None else self._read(entry.config or entry.source, name)

    def _read(self, source: str, name: str) -> dict[str, Any] | None:
        if source.startswith(HUB):
            return None
        if (source, name) not in self._configs:
            self._configs[source, name] = _read_json(locate(self._path, source) / name)
        return self._configs[source, name]


def _derive_config(path: Path) -> Config | None:
    try:
        return derive_config(read_header(path).tensors)
    except (OSError, InvalidSafetensors):
        return None  # who loads it says what is wrong


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None  # who loads it says what is wrong
    return config if isinstance(config, dict) else None
