"""Finds out whether a job computed NaN or infinity, and where: such images are black, and nobody knows why.

What is noted along the way stays on the device and is read once, at the end, so that no step waits for it.
"""

from torch import Tensor

from shared.errors import NonFiniteImage, NonFiniteLatents, NonFiniteWeights
from shared.jobs.spec import JobSpec
from workers.families.base import BaseModel, Conditioning
from workers.runtime.finite import are_finite, find_non_finite, is_finite, min_max


class NonFiniteTracker:
    """The smallest and the largest number of everything that one job computed, in order."""

    def __init__(self, model: BaseModel, spec: JobSpec) -> None:
        self._model = model
        self._spec = spec
        self._noted: list[tuple[str, Tensor]] = []

    def note(self, what: str, tensor: Tensor) -> None:
        """Remember the extremes of a tensor under words that end a sentence."""
        self._noted.append((what, min_max(tensor)))

    def note_prompt(self, conditioning: Conditioning) -> None:
        """The same for everything that the prompt became."""
        for name, tensor in conditioning.tensors.items():
            self.note(f"in the {name} of the prompt, which the text encoders compute", tensor)

    def check_latents(self, latents: Tensor) -> None:
        """Raise `NonFiniteWeights` or `NonFiniteLatents`, which say where the first ones came from."""
        if is_finite(latents):
            return
        who = f"model {self._model.name!r} in {_dtype(latents)}"
        if weight := find_non_finite(self._model.lora_parts):
            raise NonFiniteWeights(f"{who}: {weight} holds NaN or infinity{self._in_effect()}")
        finite = are_finite([noted for _, noted in self._noted])
        first = next(
            (what for (what, _), is_fine in zip(self._noted, finite, strict=True) if not is_fine), ""
        )
        detail = f"{who} computed NaN or infinity, first {first or 'after the last step'}"
        raise NonFiniteLatents(f"{detail}{self._in_effect()}")

    def check_pixels(self, pixels: Tensor) -> None:
        """Raise `NonFiniteImage` for what the VAE decoded from finite latents."""
        if not is_finite(pixels):
            detail = f"the VAE of model {self._model.name!r} overflows in {_dtype(pixels)}"
            raise NonFiniteImage(f"{detail}: it decoded finite latents to NaN or infinity")

    def _in_effect(self) -> str:
        """What was added to the model for this job, as it may be at fault."""
        added = [("LoRA", self._spec.loras), ("ControlNet", self._spec.controlnets)]
        names = [f"{kind} {one.name!r}" for kind, ones in added for one in ones]  # type: ignore[attr-defined]
        return f"; with {', '.join(names)}" if names else ""


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
