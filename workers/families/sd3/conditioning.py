"""What a transformer of Stable Diffusion 3 and its ControlNets are given beside the latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from workers.families.guidance import CFGBranch


@dataclass(frozen=True)
class SD3Conditioning:
    """Both tensors have the step's rows; when guided, the unconditional ones come first."""

    embeddings: Tensor  # (b, tokens of CLIP + tokens of T5, d)
    pooled: Tensor  # (b, d of both CLIP encoders)

    @property
    def controlnet_inputs(self) -> Mapping[str, Tensor]:
        """See `Conditioning`; some ControlNets take neither."""
        return {"embeddings": self.embeddings, "pooled": self.pooled}

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """See `Conditioning`."""
        return self.controlnet_inputs

    def branch(self, branch: CFGBranch) -> "SD3Conditioning":
        """Half of the rows, or all of them; the same object at every call."""
        return self if branch is CFGBranch.BOTH else self._by_branch[branch]

    @cached_property
    def _by_branch(self) -> dict[CFGBranch, "SD3Conditioning"]:
        middle = len(self.embeddings) // 2
        return {
            CFGBranch.UNCOND: SD3Conditioning(self.embeddings[:middle], self.pooled[:middle]),
            CFGBranch.COND: SD3Conditioning(self.embeddings[middle:], self.pooled[middle:]),
        }
