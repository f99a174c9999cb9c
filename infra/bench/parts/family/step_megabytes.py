"""What known ControlNets send for one step of a guided image of 1024 x 1024 in half precision."""

from shared.catalog.step_bytes import guided_rows, step_bytes
from shared.families.base import Config, FamilyFacts
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.unet import SDXL
from shared.families.z_image import Z_IMAGE

SIZE_PX = (1024, 1024)
#: By family and ControlNet: the ControlNet's config, as far as it counts, and its base model's.
CONTROLNETS: dict[str, tuple[FamilyFacts, Config, Config]] = {
    "sdxl": (SDXL, {"block_out_channels": [320, 640, 1280]}, {}),
    "flux_5_10": (FLUX, {"num_layers": 5, "num_single_layers": 10}, {}),
    "flux_6_0": (FLUX, {"num_layers": 6, "num_single_layers": 0}, {}),
    "sd35_large_19": (SD3, {"num_layers": 19}, {"num_layers": 38, "num_attention_heads": 38}),
    "sd35_medium_12": (SD3, {"num_layers": 12}, {"num_layers": 24, "num_attention_heads": 24}),
    "qwen_image_5": (QWEN_IMAGE, {"num_layers": 5}, {"num_layers": 60}),
    "z_image_15": (Z_IMAGE, {"control_layers_places": list(range(0, 30, 2))}, {"n_layers": 30}),
    "z_image_3": (Z_IMAGE, {"control_layers_places": [0, 10, 20]}, {"n_layers": 30}),
}


def step_megabytes() -> dict[str, float]:
    """10⁶ bytes by ControlNet; both branches where guidance is one batch."""
    found = {
        name: step_bytes(facts, controlnet, base, size=SIZE_PX, rows=guided_rows(facts))
        for name, (facts, controlnet, base) in CONTROLNETS.items()
    }
    return {name: count / 1e6 for name, count in found.items() if count is not None}
