"""What the steps so far have changed in a scheduler of diffusers, and how a fresh one is given it.

Schedulers keep their state in attributes: counters, earlier predictions, the last sample. Everything else
(tables, timesteps) is as `workers.unet.timesteps.schedule.make_schedule` makes it.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

#: The types that the state of a scheduler may have; a list may hold all of them.
Value = Tensor | torch.Size | bool | int | float | str | None | list["Value"]
_PLAIN = (bool, int, float, str, type(None))


class UnsupportedState(Exception):
    """A scheduler keeps something that cannot be stored."""


class SchedulerState:
    """Compares a scheduler with what it was when it was made: nothing of it may have been called before."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._fresh = {name: (value, _copied(value)) for name, value in vars(scheduler).items()}

    def changed(self) -> dict[str, Value]:
        """Attributes that were replaced or added, and lists that were written to; raises `UnsupportedState`.

        Tensors in lists are the scheduler's own: schedulers replace these and write to none.
        """
        return {
            name: _kept(_checked(name, value))
            for name, value in vars(self._scheduler).items()
            if self._has_changed(name, value)
        }

    def restore(self, changed: Mapping[str, Value]) -> None:
        """Give the scheduler what `changed` has returned of another one that was made alike."""
        vars(self._scheduler).update(changed)

    def _has_changed(self, name: str, value: Any) -> bool:
        if name not in self._fresh:
            return True
        fresh, copied = self._fresh[name]
        return fresh is not value or not _is_same(copied, value)


def _copied(value: Any) -> Any:
    return [_copied(one) for one in value] if isinstance(value, list) else value


def _is_same(copied: Any, value: Any) -> bool:
    """Whether a list still holds the objects that it held when it was copied."""
    if isinstance(value, list) and isinstance(copied, list):
        return len(copied) == len(value) and all(map(_is_same, copied, value))
    return copied is value


def _kept(value: Value) -> Value:
    """A value that stays while the loop goes on: PNDM's Runge-Kutta steps add to a tensor in place."""
    return value.clone() if isinstance(value, Tensor) else value


def _checked(name: str, value: Any) -> Value:
    """A value that can be stored, its lists copied: the scheduler goes on writing to its own."""
    if isinstance(value, list):
        return [_checked(name, one) for one in value]
    if (
        isinstance(value, Tensor | torch.Size) or type(value) in _PLAIN
    ):  # a subclass, as of numpy, computes otherwise
        return cast("Value", value)
    raise UnsupportedState(f"{name} is a {type(value).__name__}")
