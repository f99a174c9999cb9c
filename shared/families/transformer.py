"""What the families of diffusion transformers share: names in files, facts of ControlNets, flow matching."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from shared.families.base import Config, FamilyFacts
from shared.families.controlnets import ControlNetTraits, ControlPlan, MaskUse, ModelSignature
from shared.families.weight_names import has_all_words, has_word

#: No model has as many blocks, channels or heads; a plan of more blocks would fill the memory.
MAX_COUNT = 100_000
#: Their ``set_timesteps`` does not take what some families' pipelines give it: ``mu``, or sigmas as well.
TAKES_NO_MU = frozenset({"flow_match_heun"})
TAKES_NO_SIGMAS = TAKES_NO_MU | {"dpmpp_2m_flow"}
#: What the names of weights in a LoRA file have: such a file is no base model.
_LORA_WORDS = ("lora_", ".lora", "hada_", "lokr_")


@dataclass(frozen=True, kw_only=True)
class TransformerFacts(FamilyFacts):
    """A family of diffusion transformers."""

    #: Class names that its denoiser is saved with.
    transformer_classes: frozenset[str]
    #: Parts of the names of weights in a single file: a ControlNet's has the ``controlnet_file_words``, a
    #: base model's not all of them, but the ``file_words`` or, by the names that diffusers gives them, the
    #: ``diffusers_file_words``, and none of ``other_file_words``.
    file_words: tuple[str, ...]
    diffusers_file_words: tuple[str, ...] = ()
    other_file_words: tuple[str, ...] = ()
    controlnet_file_words: tuple[str, ...] = ()
    #: What the names of the VAE's weights begin with in a single file that holds it, too, by the names that
    #: diffusers converts; none where it converts none.
    file_vae_prefixes: tuple[str, ...] = ("first_stage_model.", "vae.")
    denoiser: str = "transformer"
    controlnet_layouts_vary: bool = True
    control_range: tuple[float, float] = (-1.0, 1.0)
    engines: frozenset[str] = frozenset({"eager"})
    entry_options: frozenset[str] = frozenset()
    size_multiple: int = 16  # 8 of the VAE, 2 of a token
    #: Tokens of text that residuals have beside those of the image; of a prompt of usual length.
    residual_text_tokens: int = 0
    refuses_unread_prompts: bool = True
    full_strength_is_noise: bool = False
    matches_flow: bool = True

    def is_family_of(self, config: Config) -> bool:
        """See `FamilyFacts`."""
        kind = config.get("_class_name")
        return isinstance(kind, str) and (kind in self.transformer_classes or kind in self.controlnet_classes)

    def is_family_of_file(self, names: Sequence[str]) -> bool:
        """See `FamilyFacts`; the names are diffusers' or the original ones."""
        others = (*self.other_file_words, *_LORA_WORDS)
        is_controlnet = self.is_family_of_controlnet_file(names)
        own = (self.file_words, self.diffusers_file_words)
        is_named = any(words and has_all_words(names, words) for words in own)
        return is_named and not is_controlnet and not has_word(names, others)

    def file_parts(self, names: Sequence[str]) -> tuple[str, ...]:
        """See `FamilyFacts`: the others lie in the folder that the catalog key ``config`` names."""
        has_vae = any(name.startswith(self.file_vae_prefixes) for name in names)
        return (self.denoiser, "vae") if has_vae else (self.denoiser,)

    def is_family_of_controlnet_file(self, names: Sequence[str]) -> bool:
        """See `FamilyFacts`."""
        words = self.controlnet_file_words
        return bool(words) and has_all_words(names, words) and not has_word(names, _LORA_WORDS)

    @abstractmethod
    def token_width(self, config: Config) -> int:
        """Channels of a token between the blocks of the denoiser or ControlNet of this config."""

    def residual_elements(self, controlnet: Config, base: Config, size: tuple[int, int]) -> int | None:
        """See `FamilyFacts`."""
        columns, rows = (side // self.size_multiple for side in size)
        tokens = rows * columns + self.residual_text_tokens
        return len(self.control_plan(controlnet, base).wanted) * tokens * self.token_width(base)

    @abstractmethod
    def control_layout(self, config: Config) -> str:
        """How many residuals the ControlNet of this config gives, of which kind: ControlNets of a job must
        agree."""

    def control_types(self, config: Config) -> int:
        """Of a union of ControlNets; 0: an ordinary one."""
        return 0

    def mask_use(self, config: Config) -> MaskUse:
        """What the ControlNet of this config does with a mask, where ControlNets see masks."""
        return "none"

    def controlnet_traits(self, config: Config) -> ControlNetTraits:
        """See `FamilyFacts`."""
        return ControlNetTraits(
            self.signature(config),
            control_types=self.control_types(config),
            residuals=self.control_plan(config, None).wanted,
            layout=self.control_layout(config),
            mask=self.mask_use(config),
        )

    def signature_of(self, layout: str, text_width: int | None = None) -> ModelSignature:
        """A signature of this family."""
        return ModelSignature(self.name, self.label, layout, text_width)


def count_in(config: Config, name: str, default: int) -> int:
    """A count of a config; ``default`` if there is none, or it is none of a model: who loads it says so."""
    value = config.get(name, default)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    return value if is_count else default


def repeat_each(blocks: int, residuals: int, first: int = 0) -> tuple[int | None, ...]:
    """Each residual, numbered from ``first``, serves ``ceil(blocks / residuals)`` blocks in a row."""
    if not residuals:
        return (None,) * blocks
    interval = math.ceil(blocks / residuals)
    return tuple(first + i // interval for i in range(blocks))


def all_residuals(residuals: int) -> ControlPlan:
    """All residuals of a ControlNet whose base model is not known."""
    return ControlPlan(tuple(range(residuals)))


def square_size_px(side: int, vae: Config | None) -> tuple[int, int] | None:
    """Width and height in pixels of ``side`` latents, by the config of an `AutoencoderKL`."""
    blocks = (vae or {}).get("block_out_channels")
    if not isinstance(blocks, list | tuple) or not blocks:
        return None
    px = side * 2 ** (len(blocks) - 1)
    return px, px
