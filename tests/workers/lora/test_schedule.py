"""Bounded asynchronous loading as arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.jobs.options import LoraLoading
from tests.workers.lora.cache.buckets import ref_to
from workers.lora.schedule import LoraSchedule

REFS = [ref_to("anime", b"x"), ref_to("paper", b"x")]
BOTH = {"anime", "paper"}


def test_exact_waits_for_every_lora_before_the_first_step() -> None:
    schedule = LoraSchedule(LoraLoading(mode="exact"), REFS, 25)
    assert schedule.loras_to_patch(0, set()) == BOTH
    assert schedule.must_wait(0, "anime")


def test_bounded_takes_what_has_arrived_and_waits_after_a_fifth_of_the_steps() -> None:
    schedule = LoraSchedule(LoraLoading(), REFS, 25)
    assert schedule.deadline_step("anime") == 5
    assert schedule.loras_to_patch(0, set()) == set()
    assert schedule.loras_to_patch(2, {"paper"}) == {"paper"}
    assert not schedule.must_wait(4, "anime")
    assert schedule.must_wait(5, "anime")
    assert schedule.loras_to_patch(5, set()) == BOTH


def test_a_loras_own_max_async_steps_hold_unless_the_job_has_others() -> None:
    structural = REFS[0].model_copy(update={"max_async_steps": 0})
    refs = [structural, REFS[1]]
    own = LoraSchedule(LoraLoading(), refs, 25)
    assert (own.deadline_step("anime"), own.deadline_step("paper")) == (0, 5)
    jobs = LoraSchedule(LoraLoading(max_async_steps=2), refs, 25)
    assert (jobs.deadline_step("anime"), jobs.deadline_step("paper")) == (2, 2)


def test_replay_patches_at_its_step_and_not_when_the_file_is_ready() -> None:
    loading = LoraLoading(mode="replay", steps={"anime": 3, "paper": 0})
    schedule = LoraSchedule(loading, REFS, 25)
    assert schedule.loras_to_patch(0, BOTH) == {"paper"}
    assert schedule.loras_to_patch(2, BOTH) == {"paper"}
    assert schedule.loras_to_patch(3, set()) == BOTH
    assert schedule.must_wait(3, "anime")


@pytest.mark.parametrize("steps", [{}, {"anime": 1}, {"anime": 1, "paper": 25}])
def test_replay_without_a_step_the_job_has_is_refused(steps: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest, match=r"'\w+', from 0 to 24"):
        LoraSchedule(LoraLoading(mode="replay", steps=steps), REFS, 25)


@given(total=st.integers(1, 200), late=st.none() | st.integers(0, 300), arrival=st.integers(0, 300))
def test_every_lora_takes_effect_within_its_bound_and_within_the_job(
    total: int, late: int | None, arrival: int
) -> None:
    schedule = LoraSchedule(LoraLoading(max_async_steps=late), REFS[:1], total)
    took_effect = next(
        step
        for step in range(total)
        if schedule.loras_to_patch(step, {"anime"} if step >= arrival else set())
    )
    assert took_effect == min(arrival, schedule.deadline_step("anime"))
    assert schedule.deadline_step("anime") <= (total // 5 if late is None else late)
