"""The loop every stage shares: a fixed number of steps, one rate schedule, an average of the weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import Parameter
from tqdm import trange  # type: ignore[import-untyped]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how fast to learn. Counted in steps, never in time, so that a seed reproduces."""

    steps: int
    batch: int
    learning_rate: float
    warmup_steps: int
    hold: float  # share of the steps before the rate begins to fall
    average: float  # weight of the past in the moving average of the weights
    weight_decay: float = 1e-3

    def scaled(self, scale: float) -> Self:
        """The same plan with ``scale`` times the steps, for a trial run."""
        return replace(self, steps=max(2, round(self.steps * scale)))


@dataclass(frozen=True)
class Group:
    """Parameters that learn at ``rate_factor`` times the plan's rate."""

    parameters: list[Parameter]
    rate_factor: float = 1.0


def rate(plan: Plan, step: int) -> float:
    """The learning rate at ``step``: a ramp up, a plateau, half a cosine down to zero at the end."""
    warm = min(1.0, (step + 1) / plan.warmup_steps)
    fall = max(0.0, (step / plan.steps - plan.hold) / (1 - plan.hold))
    return plan.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * fall))


def minimise(loss: Callable[[], Tensor], groups: Sequence[Group], plan: Plan, *, title: str) -> None:
    """Walk down ``loss`` with AdamW; the parameters end as the moving average of the walk."""
    parameters = [parameter for group in groups for parameter in group.parameters]
    averages = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(
        [{"params": group.parameters} for group in groups],
        betas=(0.9, 0.99),
        weight_decay=plan.weight_decay,
    )
    recent = 0.0
    progress = trange(plan.steps, desc=title, mininterval=5)
    for step in progress:
        for group, options in zip(groups, optimizer.param_groups, strict=True):
            options["lr"] = rate(plan, step) * group.rate_factor
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        memory = min(plan.average, (step + 1) / (step + 15))  # short at first: forget the start
        _blend(averages, parameters, 1 - memory)
        recent = value.item() if step == 0 else 0.98 * recent + 0.02 * value.item()
        progress.set_postfix(loss=f"{recent:.4f}", refresh=False)
    _blend(parameters, averages, 1.0)


@torch.no_grad()
def _blend(into: Sequence[Tensor], other: Sequence[Tensor], share: float) -> None:
    for mine, theirs in zip(into, other, strict=True):
        mine.lerp_(theirs, share)
