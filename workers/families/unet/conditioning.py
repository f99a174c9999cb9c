"""What a UNet and its ControlNets are given beside the latents: one row for each row of a step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from workers.families.guidance import CFGBranch


@dataclass(frozen=True)
class UNetConditioning:
    """Every tensor has the step's rows; when guided, the unconditional ones come first."""

    embeddings: Tensor  # (b, tokens, d)
    added: Mapping[str, Tensor] = field(default_factory=dict)  # SDXL: text_embeds (b, d), time_ids (b, 6)
    guidance: Tensor | None = None  # (b, time_cond_proj_dim), of UNets that have guidance distilled in

    @property
    def controlnet_inputs(self) -> dict[str, Tensor]:
        """What a ControlNet is given of it, by the names of `StepRequest.inputs`."""
        return {"embeddings": self.embeddings, **self.added}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that the prompt became, by name."""
        return self.controlnet_inputs

    def branch(self, branch: CFGBranch) -> "UNetConditioning":
        """Half of the rows, or all of them; the same object at every call."""
        return self if branch is CFGBranch.BOTH else self._by_branch[branch]

    @cached_property
    def _by_branch(self) -> dict[CFGBranch, "UNetConditioning"]:
        middle = len(self.embeddings) // 2
        return {
            CFGBranch.UNCOND: self._rows(slice(0, middle)),
            CFGBranch.COND: self._rows(slice(middle, None)),
        }

    def _rows(self, which: slice) -> "UNetConditioning":
        return UNetConditioning(
            self.embeddings[which],
            {name: tensor[which] for name, tensor in self.added.items()},
            None if self.guidance is None else self.guidance[which],
        )
