"""Two forwards that take the same residuals."""

from collections.abc import Generator

import pytest
import torch
from torch import Tensor

from workers.families.staged_forward import run_to_end
from workers.families.transformer.two_forwards import in_lockstep


def forward(
    name: str, log: list[str], indices: tuple[int, ...] = (0, 1)
) -> Generator[int, Tensor | None, Tensor]:
    x = torch.zeros(1, 2)
    for index in indices:
        residual = yield index
        log.append(f"{name} {index}")
        x = x if residual is None else x + residual
    return x + (name == "cond")


def test_each_residual_is_asked_for_once_and_given_to_both() -> None:
    log: list[str] = []

    def residual(index: int) -> Tensor:
        log.append(f"residual {index}")
        return torch.full((1, 2), 10.0**index)

    both = in_lockstep([forward("uncond", log), forward("cond", log)])
    prediction = run_to_end(both, next(both), residual)
    assert prediction.tolist() == [[11.0, 11.0], [12.0, 12.0]]
    assert log == ["residual 0", "uncond 0", "cond 0", "residual 1", "uncond 1", "cond 1"]


def test_without_controlnets_both_run_to_their_end() -> None:
    both = in_lockstep([forward("uncond", [], (0,)), forward("cond", [], (0,))])
    assert run_to_end(both, next(both), None).tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_what_a_forward_raises_ends_both() -> None:
    both = in_lockstep([forward("uncond", []), forward("cond", [])])
    next(both)
    with pytest.raises(TypeError):
        both.send("no tensor")  # type: ignore[arg-type]
