"""Guidance as two forwards, one branch after the other, which take the same residuals of ControlNets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.families.base import Conditioning
from workers.families.guidance import CFGBranch
from workers.families.staged_forward import StagedForward


@dataclass(frozen=True)
class BranchPair:
    """The conditioning of a guided step; texts of its branches may differ in length."""

    uncond: Conditioning
    cond: Conditioning

    @property
    def controlnet_inputs(self) -> Mapping[str, Tensor]:
        """See `Conditioning`; ControlNets see the conditional branch alone."""
        return self.cond.controlnet_inputs

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """See `Conditioning`."""
        uncond = {f"negative {name}": tensor for name, tensor in self.uncond.tensors.items()}
        return {**self.cond.tensors, **uncond}

    def branch(self, branch: CFGBranch) -> Conditioning:
        """See `Conditioning`."""
        return {CFGBranch.BOTH: self, CFGBranch.COND: self.cond, CFGBranch.UNCOND: self.uncond}[branch]


def in_lockstep(forwards: Sequence[StagedForward]) -> StagedForward:
    """Forwards that ask for the same residuals, as one that asks for each once; joins their predictions.

    Returns ``(2n, …)`` of two forwards of ``n`` rows, in their order.
    """
    first = [next(forward) for forward in forwards]
    index = first[0]  # that of all
    while True:
        residual = yield index
        predictions = []
        for forward in forwards:
            try:
                index = forward.send(residual)
            except StopIteration as end:
                predictions.append(end.value)
        del residual
        if predictions:
            return torch.cat(predictions)
