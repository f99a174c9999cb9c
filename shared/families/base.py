"""What web and workers must know of a model family without loading a model: facts, and questions to configs.

A family is a kind of base model with its ControlNets and LoRAs. Its facts are one subclass of `FamilyFacts`,
in one file of this package; its torch side is a folder of `workers.families`. Both are entered in their
registry (`shared.families.registry`, `workers.families.registry`). What tells the family of a LoRA file must
know it, too: by metadata (`shared.storage.lora_base_model`), and by the names of modules
(`shared.storage.lora_transformer`). `tests.parity` holds it against diffusers. Nothing else changes.

A ``config`` is what a diffusers folder says in JSON: written by anybody, so a value of another type than
expected must raise nothing; whoever loads the model says what is wrong with it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from shared.families.controlnets import ControlNetTraits, ControlPlan, MaskUse, ModelSignature

Config = Mapping[str, Any]
#: How diffusers computes guidance: both branches as one batch of twice the rows, or one forward after the
#: other. Only of the second kind is a step that is split over two workers bit-equal to a whole one.
GuidanceBatches = Literal["one_batch", "two_forwards"]
#: What a job generates from: its texts alone, an image as well, or an image and a mask.
Mode = Literal["text", "image", "mask"]
MODES: frozenset[Mode] = frozenset({"text", "image", "mask"})
#: What sees image and mask of a job with ControlNets. The base model: as without ControlNets it begins from
#: the image, and what the mask keeps is put back after each step. Or the job's ControlNets, or the only one
#: it may have: then it generates from noise, and nothing is put back.
MaskReader = Literal["base_model", "controlnets", "one_controlnet"]
#: Which pipelines of a family have a scheduler begin at its first index (``set_begin_index(0)``) when a job
#: begins with noise. Others have it look for the first timestep: of two equal ones it takes the second.
BeginsAtFirstIndex = Literal["never", "without_controlnets", "always"]
#: What jobs generate from that a ControlNet guides, if it is ControlNets that see their masks.
_MODES_OF_USE: Mapping[MaskUse, frozenset[Mode]] = {
    "none": frozenset({"text"}),
    "optional": frozenset({"text", "mask"}),
    "required": frozenset({"mask"}),
}


class ModelDefaults(NamedTuple):
    """Defaults of a model's jobs from texts alone, of transformers as the pipeline in diffusers has them."""

    scheduler: str
    num_inference_steps: int
    guidance_scale: float


DEFAULTS = ModelDefaults("ddim", 30, 7.5)


class JobDefaults(NamedTuple):
    """What a job has that says nothing else; ``strength`` is of one from an image."""

    num_inference_steps: int
    guidance_scale: float
    strength: float
    conditioning_scale: float  # of a ControlNet


def usual_defaults(mode: Mode, model: ModelDefaults = DEFAULTS) -> JobDefaults:
    """The defaults of jobs of UNets, and of models whose family is not known: not those of diffusers.

    Its pipelines of UNets disagree: ``strength`` is 0.3, 0.8, 1.0 or 0.9999, the scale of a ControlNet 0.5,
    0.8 or 1.0, by the pipeline's file.
    """
    strength = 1.0 if mode == "mask" else 0.8
    return JobDefaults(model.num_inference_steps, model.guidance_scale, strength, conditioning_scale=1.0)


class TextTokens(NamedTuple):
    """How many tokens of a prompt are read (``max_sequence_length``), and how many may be."""

    default: int
    limit: int


@dataclass(frozen=True, kw_only=True)
class FamilyFacts(ABC):
    """The facts of one family, and what its configs say."""

    name: str  # in catalogs: "sdxl"
    label: str  # in error texts: "SDXL"
    #: Class names that pipelines of the family are saved with, without the word Pipeline.
    pipelines: frozenset[str]
    #: The folder of the network that denoises, which has the config that tells the family.
    denoiser: str
    #: All parts with weights that a folder must have, ``denoiser`` among them.
    parts: tuple[str, ...]
    #: Of ``parts``, those that a folder may lack, if its ``model_index.json`` says so: see `parts_of`.
    optional_parts: frozenset[str] = frozenset()
    #: Fields of a job that nothing but such a part reads.
    part_fields: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: The text encoders among ``parts``, and what each one's tokenizer is called.
    tokenizers: Mapping[str, str]
    #: What the names of a text encoder's weights begin with in a single file that holds it, by part; those
    #: that diffusers converts.
    file_text_encoders: Mapping[str, str] = field(default_factory=dict)
    #: Class names of the family's ControlNets; the first is that of a config that names none.
    controlnet_classes: tuple[str, ...]
    #: Whether the ControlNets of one base model differ in where it adds their residuals. If not, each has the
    #: layout that the base model's own config describes.
    controlnet_layouts_vary: bool = False
    #: Black and white of the control images that its ControlNets are shown, unless the catalog says another.
    control_range: tuple[float, float] = (0.0, 1.0)
    #: Which `shared.catalog.entries.EngineName` may run its models and ControlNets.
    engines: frozenset[str] = frozenset({"eager", "graphs", "compile"})
    #: Which `workers.model_checks.entry_options.LIMITED_OPTIONS` of catalog entries they follow.
    entry_options: frozenset[str] = frozenset({"attention_slicing", "memory_format"})
    #: Parts that a LoRA may train.
    lora_parts: tuple[str, ...]
    #: Of the fields of a job that not every family takes (`shared.jobs.options.JobOptions.limited_fields`),
    #: those that this one does.
    fields: frozenset[str] = frozenset()
    #: Which `shared.jobs.options.PromptSyntax` its text encoders can follow.
    prompt_syntaxes: frozenset[str] = frozenset({"plain"})
    #: Sides of an image must be divisible by this, in pixels.
    size_multiple: int = 8
    guidance_batches: GuidanceBatches = "one_batch"
    #: Its models use schedulers of flow matching, or those of diffusion, all but the ``unused_schedulers``
    #: (`shared.catalog.schedulers.schedulers_of`).
    matches_flow: bool = False
    unused_schedulers: frozenset[str] = frozenset()
    unused_with_controlnets: frozenset[str] = frozenset()
    #: Whether its pipelines give a scheduler ``mu`` whatever the model's scheduler config says; else only
    #: where that shifts by the image's size.
    always_gives_mu: bool = False
    begins_at_first_index: BeginsAtFirstIndex = "never"
    #: What a model uses whose catalog entry does not say it.
    defaults: ModelDefaults = DEFAULTS
    #: Above which ``guidance_scale`` there is an unconditional branch; None: ``true_cfg_scale`` decides that.
    guidance_begins_above: float | None = 1.0
    #: ``true_cfg_scale`` of a job that does not say it.
    true_cfg_scale: float = 1.0
    #: Whether a negative prompt that no branch reads is refused, in place of being left unread.
    refuses_unread_prompts: bool = False
    #: Of families with the field ``max_sequence_length``.
    text_tokens: TextTokens | None = None
    #: What its jobs may generate from: where diffusers has a pipeline.
    modes: frozenset[Mode] = MODES
    mask_reader: MaskReader = "base_model"
    #: Whether inpainting at strength 1 begins with noise alone, wherever the steps begin; else with the image
    #: as noisy as the first step expects it.
    full_strength_is_noise: bool = True
    #: How many control images a job may have; None: as many as it likes.
    max_controlnets: int | None = None
    #: Whether diffusers sums the residuals of different ControlNets.
    sums_controlnets: bool = True
    #: Whether a row of a forward is computed as if it were alone: else rows are neither split nor batched.
    rows_are_independent: bool = True
    #: Whether its ControlNets with a ``control_mode`` compute a row from others, too.
    unions_mix_rows: bool = False
    #: What the names of the denoiser's weights begin with that its ControlNets compute with, too.
    controlnet_layers: tuple[str, ...] = ()

    @abstractmethod
    def is_family_of(self, config: Config) -> bool:
        """Whether the config of a denoiser in the folder ``denoiser``, or of a ControlNet of one of
        ``controlnet_classes``, is of this family."""

    @abstractmethod
    def is_family_of_file(self, names: Sequence[str]) -> bool:
        """Whether a single file with weights of these names is, or was once, a base model of this family."""

    def is_family_of_controlnet_file(self, names: Sequence[str]) -> bool:
        """Whether a single file with weights of these names is a ControlNet of this family."""
        return False

    def controlnet_file_config(self, shapes: Mapping[str, Sequence[int]]) -> Config | None:
        """The config of such a ControlNet by its weights' shapes, but for what only their numbers tell.

        None: they do not tell it.
        """
        return None

    def file_parts(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of ``parts`` that a single file of a base model with weights of these names holds."""
        return self.parts

    def checkpoint_error(self, names: Sequence[str]) -> str | None:
        """Why such a file cannot be loaded, as the end of a sentence; None: nothing speaks against it."""
        return None

    def parts_of(self, index: Config) -> tuple[str, ...]:
        """The parts of a folder with this ``model_index.json``; an optional one that is null is not there."""
        entries = {part: index.get(part) or [None] for part in self.optional_parts}
        missing = {part for part, entry in entries.items() if isinstance(entry, list) and entry[0] is None}
        return tuple(part for part in self.parts if part not in missing)

    def folder_problem(self, index: Config) -> str | None:
        """The same of a folder, by its ``model_index.json``."""
        return None

    @abstractmethod
    def signature(self, config: Config) -> ModelSignature:
        """The signature that the config of a denoiser or of a ControlNet describes."""

    @abstractmethod
    def control_plan(self, controlnet: Config, base: Config | None) -> ControlPlan:
        """Which residuals of a ControlNet its base model reads, and where; ``base`` is not always known."""

    def residual_elements(self, controlnet: Config, base: Config, size: tuple[int, int]) -> int | None:
        """How many elements the residuals of a step have that are sent for one row, for an image of ``size``,
        (width, height) in px. None: that is not known."""
        return None

    def controlnet_traits(self, config: Config) -> ControlNetTraits:
        """What the config of a ControlNet says."""
        return ControlNetTraits(self.signature(config), residuals=self.control_plan(config, None).wanted)

    def controlnet_problem(self, config: Config) -> str | None:
        """Why a ControlNet of this config cannot be served, as a sentence; None: it can."""
        return None

    @property
    def controlnet_modes(self) -> frozenset[Mode]:
        """What jobs with ControlNets may generate from."""
        return self.modes if self.mask_reader == "base_model" else frozenset({"text", "mask"})

    def modes_with(self, traits: ControlNetTraits) -> frozenset[Mode]:
        """What jobs may generate from that a ControlNet with these traits guides."""
        return self.modes if self.mask_reader == "base_model" else _MODES_OF_USE[traits.mask]

    def begins_with_noise(self, mode: Mode, *, has_controlnets: bool) -> bool:
        """Whether such a job's first latents are noise alone, whatever its ``strength``: see `MaskReader`."""
        is_shown = has_controlnets and self.mask_reader != "base_model"
        return mode == "text" or (mode == "mask" and is_shown)

    def sets_begin_index(self, *, has_controlnets: bool) -> bool:
        """See `BeginsAtFirstIndex`; of jobs that begin with noise."""
        begins = self.begins_at_first_index
        return begins == "always" or (begins == "without_controlnets" and not has_controlnets)

    def layers_of_base(self, controlnet: Config) -> tuple[str, ...]:
        """What the names of the denoiser's weights begin with that the ControlNet is loaded with, too."""
        return self.controlnet_layers

    def keeps_base_layer(self, controlnet: Config) -> bool:
        """Whether the ControlNet computes with a layer that is read from its first base model for good."""
        return False

    def is_inpainting(self, config: Config) -> bool:
        """Whether the denoiser was trained to take a mask and a masked image beside the latents."""
        return False

    def fields_in(self, mode: Mode, *, has_controlnets: bool) -> frozenset[str]:
        """Those of ``fields`` that a job of this kind takes: diffusers' pipelines for it may have fewer."""
        return self.fields

    def job_defaults(self, mode: Mode, *, has_controlnets: bool) -> JobDefaults:
        """What a job of this kind has that says nothing else."""
        return usual_defaults(mode, self.defaults)

    def is_guided(
        self, guidance_scale: float, true_cfg_scale: float | None, *, has_negative_prompt: bool
    ) -> bool:
        """Whether a job with these scales, None if it does not say one, has an unconditional branch."""
        if self.guidance_begins_above is not None:
            return guidance_scale > self.guidance_begins_above
        scale = self.true_cfg_scale if true_cfg_scale is None else true_cfg_scale
        return scale > 1 and has_negative_prompt

    def has_distilled_guidance(self, config: Config) -> bool:
        """Whether the denoiser or the ControlNet takes the guidance scale as an input, in place of an
        unconditional branch."""
        return False

    def reads_guidance_scale(self, config: Config, controlnets: Iterable[Config]) -> bool:
        """Whether a job reads its ``guidance_scale``: by the configs of its denoiser and its ControlNets,
        which may have guidance distilled in where the denoiser has not."""
        is_distilled = any(map(self.has_distilled_guidance, (config, *controlnets)))
        return self.guidance_begins_above is not None or is_distilled

    def default_size(self, configs: Mapping[str, Config]) -> tuple[int, int] | None:
        """Width and height in pixels of images that no job gives a size; ``configs`` are those of the parts
        that are there, by part. None: that cannot be said before the model is loaded."""
        return None

    def largest_side(self, configs: Mapping[str, Config]) -> int | None:
        """The most pixels of a side that the model has positions for. None: there is no limit, or it is not
        known."""
        return None
