"""Rows of the parity matrix, what is expected of each, and which of them a short run generates."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from shared.catalog.schedulers import DIFFUSION_SCHEDULERS
from tests.parity.axes import CONTROLNET_FIELDS, CONTROLNETS, FAMILIES, LORAS, MODES

#: Few, and more than the order of any scheduler.
STEPS = 4


@dataclass(frozen=True)
class Row:
    """One cell of the matrix: a name on each axis."""

    family: str
    mode: str
    controlnets: str
    loras: str
    scheduler: str

    def __str__(self) -> str:
        return " ".join((self.family, self.mode, self.controlnets, self.loras, self.scheduler))

    @property
    def body(self) -> dict[str, Any]:
        """The request: fields of the mode win over those of the family."""
        return {
            "model": self.family,
            "prompt": "a penguin on a teal background",
            "seed": 7,
            "num_inference_steps": STEPS,
            "guidance_scale": 3.0,
            "scheduler": self.scheduler,
            **FAMILIES[self.family].body,
            **MODES[self.mode],
            **CONTROLNET_FIELDS.get(self.controlnets, {}),
            "controlnets": [
                {**controlnet, "name": f"{self.family}-{controlnet['name']}"}
                for controlnet in CONTROLNETS[self.controlnets]
            ],
            "loras": [
                {"name": f"{self.family}-{name}", "scale": scale} for name, scale in LORAS[self.loras].items()
            ],
            "lora_loading": {"mode": "exact"},
        }


@dataclass(frozen=True)
class Verdict:
    """What must come of a row: diffusers' own bits, at most ``pixels`` of 255 apart, or a refusal."""

    kind: Literal["equal", "bounded", "refused"]
    why: str = ""
    pixels: int = 0
    refusal: str = ""  # what its message must say, a regular expression
    is_shifted: bool = False  # apart only by what a VAE does to each channel, which diffusers forgets


EQUAL = Verdict("equal")
#: The first that applies holds; a row that none applies to is equal.
RULES: list[tuple[Callable[[Row], bool], Verdict]] = [
    (
        lambda row: row.mode.endswith("sizes") and not FAMILIES[row.family].layout.startswith("sdxl"),
        Verdict("refused", "only SDXL has a second prompt and is told sizes", refusal="only SDXL"),
    ),
    (
        lambda row: FAMILIES[row.family].layout.endswith("inpaint") and not row.body["mask_image"],
        Verdict("refused", "a UNet that was trained to see a mask needs one", refusal="needs an image and a"),
    ),
    (
        lambda row: (
            FAMILIES[row.family].layout.startswith("sdxl") and row.controlnets != "none" and is_masked(row)
        ),
        Verdict(
            "bounded",
            "diffusers' SDXL ControlNet inpainting forgets at the end that a VAE may shift its channels",
            pixels=80,
            is_shifted=True,
        ),
    ),
    *(
        (
            lambda row, dtype=dtype: row.loras != "none" and FAMILIES[row.family].dtype == dtype,
            Verdict("bounded", f"weights with a LoRA fused in are rounded, to {dtype}", pixels=pixels),
        )
        for dtype, pixels in (("float32", 1), ("float16", 2), ("bfloat16", 8))
    ),
]


def expected(row: Row) -> Verdict:
    """The verdict on a row."""
    return next((verdict for applies, verdict in RULES if applies(row)), EQUAL)


def full() -> list[Row]:
    """Every family with every mode, ControlNet and LoRA; every scheduler with every family and
    ControlNet, and over images.

    Of slow families: every mode, and every ControlNet with every LoRA.
    """
    turn = itertools.cycle(DIFFUSION_SCHEDULERS)
    fast = [name for name, family in FAMILIES.items() if not family.is_slow]
    slow = [name for name in FAMILIES if name not in fast]
    cells = [*itertools.product(fast, MODES, CONTROLNETS, LORAS)]
    cells += [(family, mode, "one", "none") for family, mode in itertools.product(slow, MODES)]
    cells += itertools.product(slow, ["plain"], CONTROLNETS, LORAS)
    rows = [Row(*names, MODES[names[1]].get("scheduler") or next(turn)) for names in cells]
    rows += [
        Row(family, "plain", controlnets, "none", scheduler)
        for family, controlnets, scheduler in itertools.product(fast, CONTROLNETS, DIFFUSION_SCHEDULERS)
    ]
    rows += [
        Row(family, mode, "none", "none", scheduler)
        for family, mode, scheduler in itertools.product(
            ["sd1", "sdxl"], ["image", "mask"], DIFFUSION_SCHEDULERS
        )
    ]
    return [row for row in dict.fromkeys(rows) if _has_peer(row)]


def is_masked(row: Row) -> bool:
    """Whether the row inpaints."""
    return bool(row.body.get("mask_image"))


#: These schedulers of diffusers fail by themselves on the infinite first sigma of a zero-SNR schedule.
_NO_ZERO_SNR = {"dpmpp_2m_beta", "dpmpp_2m_sde_beta", "unipc_beta"}


def _has_peer(row: Row) -> bool:
    """Not every pipeline of diffusers takes every option: then there is nothing to hold ours against."""
    body, is_sdxl = row.body, FAMILIES[row.family].layout.startswith("sdxl")
    has_image, has_controlnets = bool(body.get("image")), row.controlnets != "none"
    if row.family == "sd2-zero-snr" and row.scheduler in _NO_ZERO_SNR:
        return False
    if "guidance_rescale" in body and (has_controlnets or (has_image and not is_sdxl)):
        return False
    if row.controlnets == "union" and (not is_sdxl or FAMILIES[row.family].layout.endswith("inpaint")):
        return False  # its pipelines are SDXL's, and refuse a UNet of 9 channels by mistake
    if not (has_image and has_controlnets):
        return True
    places_steps = any(body.get(field) for field in ("timesteps", "sigmas"))
    is_distilled = "lcm" in FAMILIES[row.family].layout
    return not (places_steps or is_distilled or (row.mode == "sizes" and is_masked(row)))


def sample() -> list[Row]:
    """A few rows in which names meet that matter to each other, every scheduler and every refusal."""
    rows = [row for row in full() if expected(row).kind != "refused"]
    random.Random(0).shuffle(rows)
    wanted = {meeting for row in rows for meeting in _meetings(row)}
    taken = []
    while wanted:
        best = max(rows, key=lambda row: len(wanted & _meetings(row)))
        wanted -= _meetings(best)
        taken.append(best)
    return taken + list(_refusals())


def _meetings(row: Row) -> frozenset[tuple[str, ...]]:
    """What is seen in a row; all but LoRAs only where there are none, because such a row can be equal."""
    family = FAMILIES[row.family]
    if family.is_slow:
        return frozenset({("slow", row.family)})
    if row.loras != "none":
        return frozenset({("lora", row.loras), ("lora", row.family), ("lora", row.controlnets)})
    is_sdxl, has_controlnets = family.layout.startswith("sdxl"), row.controlnets != "none"
    return frozenset(
        {
            ("family", row.family, f"controlnets={has_controlnets}"),
            ("controlnets", row.controlnets, f"sdxl={is_sdxl}"),
            ("mode", row.mode, f"sdxl={is_sdxl}"),
            ("mode", row.mode, f"controlnets={has_controlnets}"),
            ("scheduler", row.scheduler),
        }
    )


def _refusals() -> Iterator[Row]:
    """One row for each rule that refuses."""
    for applies, verdict in RULES:
        if verdict.kind == "refused":
            yield next(row for row in full() if applies(row))
