"""One cell of the parity matrix."""

from dataclasses import dataclass
from typing import Any

from shared.families.registry import named
from tests.parity.axes import FAMILIES
from tests.parity.family import Family

#: Few, and more than the order of any scheduler.
STEPS = 4


@dataclass(frozen=True)
class Row:
    """A name on each axis."""

    family: str
    mode: str
    controlnets: str
    loras: str
    scheduler: str

    def __str__(self) -> str:
        return " ".join((self.family, self.mode, self.controlnets, self.loras, self.scheduler))

    @property
    def model(self) -> Family:
        """The base model."""
        return FAMILIES[self.family]

    @property
    def body(self) -> dict[str, Any]:
        """The request: fields of the mode win over those of the family."""
        axes = self.model.axes
        return {
            "model": self.family,
            "prompt": "a penguin on a teal background",
            "seed": 7,
            "num_inference_steps": STEPS,
            "guidance_scale": 3.0,
            "scheduler": self.scheduler,
            **self.model.body,
            **axes.modes[self.mode],
            **axes.controlnet_fields.get(self.controlnets, {}),
            "controlnets": [
                {**controlnet, "name": f"{self.family}-{controlnet['name']}"}
                for controlnet in axes.controlnets[self.controlnets]
            ],
            "loras": [
                {"name": f"{self.family}-{name}", "scale": scale}
                for name, scale in axes.loras[self.loras].items()
            ],
            "lora_loading": {"mode": "exact"},
        }

    @property
    def task(self) -> str:
        """What it generates from: "text", "image" or "mask"."""
        body = self.body
        return "mask" if body.get("mask_image") else "image" if body.get("image") else "text"

    @property
    def masks_by_controlnets(self) -> bool:
        """Whether its ControlNets see its mask, and the base model does not."""
        facts = named(self.model.axes.name)
        is_masked = self.task == "mask" and self.controlnets != "none"
        return is_masked and facts is not None and facts.mask_reader != "base_model"
