"""What a Flux.1 transformer and its ControlNets are given beside the latents."""

from dataclasses import dataclass

from torch import Tensor

from workers.families.guidance import CFGBranch


@dataclass(frozen=True)
class FluxConditioning:
    """Of one branch of guidance; every tensor has the rows of its forward."""

    embeddings: Tensor  # (n, tokens, d), of T5
    pooled: Tensor  # (n, p), of CLIP
    #: The scale that is distilled into the weights, ``(n,)`` of float32. Whether it is read, each network's
    #: own config says: a ControlNet for dev is given it beside schnell, too.
    guidance: Tensor
    #: Of the image's tokens, ``(n, h, w, 3)``: all rows are equal. Its shape tells images of one number of
    #: tokens apart.
    positions: Tensor

    @property
    def controlnet_inputs(self) -> dict[str, Tensor]:
        """What a ControlNet is given of it, by the names of `StepRequest.inputs`."""
        return {
            "embeddings": self.embeddings,
            "pooled": self.pooled,
            "guidance": self.guidance,
            "positions": self.positions,
        }

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that the prompt became, by name."""
        return {"embeddings": self.embeddings, "pooled": self.pooled}

    def branch(self, branch: CFGBranch) -> "FluxConditioning":
        """It is one branch's already."""
        return self
