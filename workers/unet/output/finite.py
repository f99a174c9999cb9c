"""Finds out whether a job computed NaN or infinity, and where: such images are black, and nobody knows why.

What is noted along the way stays on the device and is read once, at the end, so that no step waits for it.
"""

import torch
from torch import Tensor

from shared.errors import NonFiniteImage, NonFiniteLatents, NonFiniteWeights
from shared.jobs.spec import JobSpec
from workers.devices.base import Device, Pending
from workers.families.base import BaseModel, Conditioning
from workers.runtime.finite import are_finite, find_non_finite, min_max


class NonFiniteTracker:
    """The smallest and the largest number of everything that one job computed, in order."""

    def __init__(self, model: BaseModel, spec: JobSpec, device: Device) -> None:
        self._model = model
        self._spec = spec
        self._device = device
        self._noted: list[tuple[str, Tensor]] = []

    def note(self, what: str, tensor: Tensor) -> None:
        """Remember the extremes of a tensor under words that end a sentence."""
        self._noted.append((what, min_max(tensor)))

    def note_prompt(self, conditioning: Conditioning) -> None:
        """The same for everything that the prompt became."""
        for name, tensor in conditioning.tensors.items():
            self.note(f"in the {name} of the prompt, which the text encoders compute", tensor)

    def check_latents(self, latents: Tensor) -> Pending[None]:
        """Raise `NonFiniteWeights` or `NonFiniteLatents`, which say where the first ones came from.

        As `HostCopy.then` does it: now, or when the result is asked for.
        """
        dtype = latents.dtype
        return self._device.to_host(min_max(latents)).then(lambda found: self._check_latents(found, dtype))

    def check_pixels(self, pixels: Tensor) -> Pending[None]:
        """Raise `NonFiniteImage`, as above, for what the VAE decoded from finite latents."""
        dtype = pixels.dtype
        return self._device.to_host(min_max(pixels)).then(lambda found: self._check_pixels(found, dtype))

    def _check_latents(self, found: Tensor, dtype: torch.dtype) -> None:
        if found.isfinite().all():
            return
        who = f"model {self._model.name!r} in {_name(dtype)}"
        if weight := find_non_finite(self._model.lora_parts):
            raise NonFiniteWeights(f"{who}: {weight} holds NaN or infinity{self._in_effect()}")
        finite = are_finite([noted for _, noted in self._noted])
        first = next(
            (what for (what, _), is_fine in zip(self._noted, finite, strict=True) if not is_fine), ""
        )
        detail = f"{who} computed NaN or infinity, first {first or 'after the last step'}"
        raise NonFiniteLatents(f"{detail}{self._in_effect()}")

    def _check_pixels(self, found: Tensor, dtype: torch.dtype) -> None:
        if not found.isfinite().all():
            detail = f"the VAE of model {self._model.name!r} overflows in {_name(dtype)}"
            raise NonFiniteImage(f"{detail}: it decoded finite latents to NaN or infinity")

    def _in_effect(self) -> str:
        """What was added to the model for this job, as it may be at fault."""
        added = [("LoRA", self._spec.loras), ("ControlNet", self._spec.controlnets)]
        names = [f"{kind} {one.name!r}" for kind, ones in added for one in ones]  # type: ignore[attr-defined]
        return f"; with {', '.join(names)}" if names else ""


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
