"""The requests of a chaos run: equal ones must give equal images, and exact ones those of diffusers."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from infra.emoji_files import CONTROL, EMOJI

COLOUR = EMOJI / "control" / "colour_cat.png"
SOURCE = EMOJI / "control" / "colour_fish.png"
LORAS = ("twemoji", "outline")
#: What is repainted: left, top, right, bottom as shares of the sides.
MASKED = (0.2, 0.3, 0.7, 0.9)
#: What diffusers calls the pipelines of jobs that start from texts alone, an image, or an image and a mask.
TASKS = {"none": "", "image": "Img2Img", "mask": "Inpaint"}
#: Distances of 255: to diffusers, which sums a LoRA in another order; between a job whose CFG branches were
#: split and one where they were not.
LORA_DISTANCE, SPLIT_DISTANCE = 1, 2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One request. ``distance`` is what equal ones may differ by, of 255; None: they are not compared."""

    name: str
    body: Mapping[str, Any]  # without files
    controlnets: tuple[tuple[str, Path, float], ...] = ()  # name, control image, scale
    loras: tuple[tuple[str, float], ...] = ()  # name, scale
    source: Literal["none", "image", "mask"] = "none"  # what it starts from
    distance: float | None = 0.0
    weight: int = 1  # how often it is asked for

    @property
    def is_exact(self) -> bool:
        """Whether it is computed as diffusers does."""
        return self.distance == 0

    @property
    def peer_distance(self) -> float | None:
        """By how much it may differ from diffusers; None: it is not compared."""
        if self.distance is None:
            return None
        return max(self.distance, LORA_DISTANCE if self.loras else 0)

    def request(self) -> dict[str, Any]:
        """The JSON body of a job."""
        body: dict[str, Any] = {"seed": 11, **self.body}
        if self.is_exact:
            body["lora_loading"] = {"mode": "exact"}
        if self.controlnets:
            body["controlnets"] = [
                {"name": name, "image": _base64(file.read_bytes()), "conditioning_scale": scale}
                for name, file, scale in self.controlnets
            ]
        if self.loras:
            body["loras"] = [{"name": name, "scale": scale} for name, scale in self.loras]
        if self.source != "none":
            body["image"] = _base64(SOURCE.read_bytes())
        if self.source == "mask":
            body["mask_image"] = _base64(_png(mask_image()))
        return body


EDGE, EDGE_HALF, COLOURS = ("edge", CONTROL, 1.0), ("edge", CONTROL, 0.5), ("colour", COLOUR, 0.8)
TWEMOJI, OUTLINE = (LORAS[0], 0.8), (LORAS[1], 0.5)

#: Short jobs and a long one, as `make chaos` always had them.
MIXED = (
    Recipe(name="plain", body={"prompt": "a penguin on a teal background", "num_inference_steps": 12}),
    Recipe(name="1C", body={"prompt": "a red car", "num_inference_steps": 12}, controlnets=(EDGE,)),
    Recipe(name="1L", body={"prompt": "a cat", "num_inference_steps": 12}, loras=(TWEMOJI,)),
    Recipe(
        name="1C1L",
        body={"prompt": "a green tree", "num_inference_steps": 12},
        controlnets=(EDGE,),
        loras=(TWEMOJI,),
    ),
    Recipe(name="2L", body={"prompt": "a house", "num_inference_steps": 12}, loras=(TWEMOJI, OUTLINE)),
    Recipe(name="2 images", body={"prompt": "a fish", "num_images": 2, "num_inference_steps": 30}),
    Recipe(
        name="long 1C",
        body={"prompt": "a long job", "num_inference_steps": 100},
        controlnets=(EDGE,),
    ),
)

#: Jobs of a run that counts them: many ends in a short time.
SHORT = (
    Recipe(
        name="plain", body={"prompt": "a penguin on a teal background", "num_inference_steps": 3}, weight=4
    ),
    Recipe(name="1C", body={"prompt": "a red car", "num_inference_steps": 3}, controlnets=(EDGE,)),
    Recipe(name="1L", body={"prompt": "a cat", "num_inference_steps": 3}, loras=(TWEMOJI,)),
    Recipe(name="2 images", body={"prompt": "a fish", "num_images": 2, "num_inference_steps": 2}),
)

#: Jobs of a saturated run: long enough that a fault hits them in the loop.
SATURATED = (
    Recipe(name="plain", body={"prompt": "a penguin on a teal background", "num_inference_steps": 50}),
    Recipe(name="1C", body={"prompt": "a red car", "num_inference_steps": 60}, controlnets=(EDGE,), weight=2),
    Recipe(
        name="2C", body={"prompt": "a cat", "num_inference_steps": 40}, controlnets=(EDGE, COLOURS), weight=2
    ),
    Recipe(
        name="3C",
        body={"prompt": "a green tree", "num_inference_steps": 40},
        controlnets=(EDGE, COLOURS, EDGE_HALF),
    ),
    Recipe(name="1L", body={"prompt": "a cat", "num_inference_steps": 50}, loras=(TWEMOJI,)),
    Recipe(name="2L", body={"prompt": "a house", "num_inference_steps": 50}, loras=(TWEMOJI, OUTLINE)),
    Recipe(
        name="2C2L",
        body={"prompt": "a red heart", "num_inference_steps": 40},
        controlnets=(COLOURS, EDGE),
        loras=(OUTLINE, TWEMOJI),
        weight=2,
    ),
    Recipe(name="3 images", body={"prompt": "a fish", "num_images": 3, "num_inference_steps": 30}),
    Recipe(
        name="1C1L, sampled noise",
        body={"prompt": "a star", "num_inference_steps": 60, "scheduler": "euler_a"},
        controlnets=(EDGE,),
        loras=(TWEMOJI,),
    ),
    Recipe(
        name="image, 1C",
        body={"prompt": "a rocket", "num_inference_steps": 60, "strength": 0.7},
        controlnets=(EDGE,),
        source="image",
    ),
    Recipe(
        name="mask",
        body={"prompt": "a duck", "num_inference_steps": 60, "strength": 0.8},
        source="mask",
    ),
    Recipe(
        name="split 1C",
        body={"prompt": "a car", "num_inference_steps": 60, "latent_parallelism": "on"},
        controlnets=(EDGE,),
        distance=SPLIT_DISTANCE,
        weight=2,
    ),
    Recipe(  # its image depends on the step in which the LoRA arrives
        name="bounded 2C1L",
        body={"prompt": "a cat", "num_inference_steps": 40},
        controlnets=(EDGE, COLOURS),
        loras=(TWEMOJI,),
        distance=None,
    ),
    Recipe(
        name="long 1C",
        body={"prompt": "a long job", "num_inference_steps": 150},
        controlnets=(EDGE,),
    ),
)


def mask_image() -> Image.Image:
    """White where it is repainted."""
    width, height = Image.open(SOURCE).size
    left, top, right, bottom = MASKED
    mask = Image.new("RGB", (width, height))
    area = (int(left * width), int(top * height), int(right * width), int(bottom * height))
    mask.paste((255, 255, 255), area)
    return mask


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
