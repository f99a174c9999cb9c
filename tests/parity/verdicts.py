"""What is expected of each row of the parity matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.parity.rows import Row


@dataclass(frozen=True)
class Verdict:
    """What must come of a row: diffusers' own bits, or a refusal.

    "patched": diffusers' own bits with the weights as patched, which are its own fused ones to rounding.
    "shifted": the bits of diffusers' latents, decoded with the shift of the VAE that its pipeline forgets.
    """

    kind: Literal["equal", "patched", "shifted", "refused"]
    why: str = ""
    refusal: str = ""  # what its message must say, a regular expression


EQUAL = Verdict("equal")


def _refused(why: str, refusal: str) -> Verdict:
    return Verdict("refused", why, refusal=refusal)


def _shifted(pipeline: str) -> Verdict:
    return Verdict("shifted", f"diffusers' {pipeline} forgets at the end that a VAE may shift its latents")


#: The first that applies holds; a row that none applies to is equal.
RULES: list[tuple[Callable[[Row], bool], Verdict]] = [
    (
        lambda row: row.mode.endswith("sizes") and not row.model.is_sdxl,
        _refused("only SDXL is told sizes", "SDXL"),
    ),
    (
        lambda row: row.model.layout.endswith("inpaint") and row.task != "mask",
        _refused("a UNet that was trained to see a mask needs one", "needs an image and a"),
    ),
    (
        lambda row: row.mode == "odd-side",
        _refused("a transformer's tokens are 16 pixels wide", "multiple of 16"),
    ),
    (
        lambda row: row.mode == "unread-negative",
        _refused("a negative prompt that no branch reads", "negative prompt only with"),
    ),
    (
        lambda row: row.mode == "shift" and row.model.layout in ("flux-dev", "qwen-image"),
        _refused("a scheduler that shifts by the image's size has no static shift", "no static shift"),
    ),
    (
        lambda row: row.mode == "one-step" and row.model.layout == "qwen-image",
        _refused("Qwen-Image's sigmas end above 0: of one step they are no numbers", "cannot walk 1"),
    ),
    (
        lambda row: row.controlnets == "1.0" and row.task == "mask",
        _refused("Z-Image's ControlNets of version 1.0 see no mask", "not trained to inpaint"),
    ),
    (
        lambda row: row.controlnets == "mixed",
        _refused("diffusers sums ControlNets of different layouts in part", "residuals"),
    ),
    (
        lambda row: row.loras != "none",
        Verdict("patched", "weights with a LoRA are diffusers' to rounding"),
    ),
    (
        lambda row: row.model.is_sdxl and row.controlnets != "none" and row.task == "mask",
        _shifted("SDXL ControlNet inpainting"),
    ),
    (
        lambda row: row.model.layout.startswith("sd3") and row.controlnets == "none" and row.task == "mask",
        _shifted("SD3 inpainting"),
    ),
]


def expected(row: Row) -> Verdict:
    """The verdict on a row."""
    return next((verdict for applies, verdict in RULES if applies(row)), EQUAL)
