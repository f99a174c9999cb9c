"""What steps have changed in a scheduler is found, whatever it is; `tests/parity` asks all of them."""

from typing import Any

import pytest
import torch

from workers.unet.checkpoints.scheduler_state import SchedulerState, UnsupportedState


class Scheduler:
    """Keeps its state as schedulers of diffusers do."""

    def __init__(self) -> None:
        self.table = torch.arange(4.0)
        self.outputs: list[Any] = [None, None]
        self.counter = 0


def test_only_what_was_changed_is_stored_and_lists_are_copied() -> None:
    scheduler = Scheduler()
    state = SchedulerState(scheduler)
    assert state.changed() == {}
    # Given steps that write to a list, replace a number and add an attribute
    first, second = torch.ones(1), torch.zeros(1)
    scheduler.outputs[1] = first
    scheduler.counter = 1
    vars(scheduler)["order"] = 2
    changed = state.changed()
    assert changed == {"outputs": [None, first], "counter": 1, "order": 2}
    # When the next step writes to the list again
    scheduler.outputs[1] = second
    # Then what was stored stays, and a fresh scheduler can be given it
    other = Scheduler()
    SchedulerState(other).restore(changed)
    assert other.outputs[1] is first
    assert (other.counter, vars(other)["order"]) == (1, 2)


@pytest.mark.parametrize("kept", [object(), {"a": 1}, (1, 2), [torch.ones(1), object()]])
def test_what_cannot_be_stored_is_named(kept: object) -> None:
    scheduler = Scheduler()
    state = SchedulerState(scheduler)
    vars(scheduler)["noise_sampler"] = kept
    with pytest.raises(UnsupportedState, match="noise_sampler"):
        state.changed()


def test_a_tensor_that_a_later_step_adds_to_in_place_stays_as_it_was() -> None:
    scheduler = Scheduler()
    state = SchedulerState(scheduler)
    vars(scheduler)["sum"] = total = torch.ones(2, 3, 2, 2).to(memory_format=torch.channels_last)
    kept = state.changed()["sum"]
    total += 1
    assert isinstance(kept, torch.Tensor)
    assert torch.equal(kept, torch.ones(2, 3, 2, 2))
    assert kept.stride() == total.stride()
