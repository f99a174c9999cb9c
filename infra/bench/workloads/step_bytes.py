"""What a step of the ControlNets that people have sends, from their real configs."""

from typing import NamedTuple

from shared.catalog.step_bytes import guided_rows, step_bytes
from shared.families.base import Config, FamilyFacts
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.unet import SD1, SDXL
from shared.families.z_image import Z_IMAGE


class SentStep(NamedTuple):
    """The residuals of one row, in half precision."""

    label: str
    facts: FamilyFacts
    controlnet: Config
    base: Config
    px: int = 1024  # width and height of the image

    @property
    def residuals(self) -> int:
        """How many are computed and sent."""
        return len(self.facts.control_plan(self.controlnet, self.base).wanted)

    @property
    def megabytes(self) -> float:
        """Of one row."""
        size = (self.px, self.px)
        found = step_bytes(self.facts, self.controlnet, self.base, size=size, dtype="bfloat16")
        assert found is not None, "the config is whole"
        return found / 1e6

    @property
    def guided_megabytes(self) -> float:
        """Of an image with guidance, where diffusers computes both branches in one batch: of two rows."""
        return self.megabytes * guided_rows(self.facts)


_SD1 = {"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2}
_SDXL = {"block_out_channels": (320, 640, 1280), "layers_per_block": 2}
_FLUX = {"num_layers": 19, "num_single_layers": 38}
_LARGE = {"num_attention_heads": 38, "attention_head_dim": 64}
_MEDIUM = {"num_attention_heads": 24, "attention_head_dim": 64}
#: With the layers of base and ControlNet; of Flux, double and single ones.
STEPS = (
    SentStep("SD 1.5, 512²", SD1, _SD1, _SD1, 512),
    SentStep("SDXL", SDXL, _SDXL, _SDXL),
    SentStep("Flux.1, 5/10", FLUX, {"num_layers": 5, "num_single_layers": 10}, _FLUX),
    SentStep("Flux.1, 6/0", FLUX, {"num_layers": 6, "num_single_layers": 0}, _FLUX),
    SentStep("Flux.1, 4/0", FLUX, {"num_layers": 4, "num_single_layers": 0}, _FLUX),
    SentStep("SD3.5 large, 38/19", SD3, {"num_layers": 19}, {"num_layers": 38, **_LARGE}),
    SentStep("SD3.5 medium, 24/12", SD3, {"num_layers": 12}, {"num_layers": 24, **_MEDIUM}),
    SentStep("Qwen-Image, 60/5", QWEN_IMAGE, {"num_layers": 5}, {"num_layers": 60}),
    *(
        SentStep(f"Z-Image, {len(hints)} hints", Z_IMAGE, {"control_layers_places": hints}, {"n_layers": 30})
        for hints in (tuple(range(0, 30, 2)), tuple(range(0, 30, 5)), (0, 10, 20))
    ),
)


def as_table() -> str:
    """Of all, in Markdown."""
    lines = ["| base and ControlNet | residuals | MB a step | with guidance |", "|---|---|---|---|"]
    for step in STEPS:
        row = (step.label, str(step.residuals), f"{step.megabytes:.0f}", f"{step.guided_megabytes:.0f}")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)
