"""What a Qwen-Image transformer and its ControlNets are given beside the latents."""

from dataclasses import dataclass

from torch import Tensor

from workers.families.guidance import CFGBranch


@dataclass(frozen=True)
class QwenImageConditioning:
    """Of one branch of guidance."""

    #: ``(n, tokens, d)``. A text is encoded alone, so there is no padding to mask.
    embeddings: Tensor
    #: ``(n, rows, columns)`` of the image's tokens: its shape alone counts, and tells images of one number of
    #: tokens apart.
    grid: Tensor

    @property
    def controlnet_inputs(self) -> dict[str, Tensor]:
        """What a ControlNet is given of it, by the names of `StepRequest.inputs`."""
        return {"embeddings": self.embeddings, "grid": self.grid}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that the prompt became, by name."""
        return {"embeddings": self.embeddings}

    def branch(self, branch: CFGBranch) -> "QwenImageConditioning":
        """It is one branch's already."""
        return self
