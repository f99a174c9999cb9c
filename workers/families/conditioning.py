"""What the UNet and the ControlNets are told beside the latents: one row for each row of a step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Every tensor has the step's rows; when guided, the unconditional half comes first."""

    embeddings: Tensor  # (b, tokens, d)
    added: Mapping[str, Tensor] = field(default_factory=dict)  # SDXL: text_embeds (b, d), time_ids (b, 6)
    guidance: Tensor | None = None  # (b, time_cond_proj_dim), of UNets that have guidance distilled in

    def rows(self, which: slice) -> "Conditioning":
        """Some of the rows, for a step that is split."""
        return Conditioning(
            self.embeddings[which],
            {name: tensor[which] for name, tensor in self.added.items()},
            None if self.guidance is None else self.guidance[which],
        )

    @property
    def controlnet_inputs(self) -> dict[str, Tensor]:
        """What a ControlNet takes of it, by the names of `StepRequest.inputs`."""
        return {"embeddings": self.embeddings, **self.added}
