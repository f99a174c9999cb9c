import pytest

from workers.controlnet_serving import batch_sizer
from workers.controlnet_serving.batch_sizer import MAX_ROWS, MAX_SIZERS, BatchSizer, BatchSizers


def test_the_first_forward_pass_is_measured_alone() -> None:
    sizer = BatchSizer(0.25)
    assert sizer.extra_rows(2) == 0
    sizer.record(2, 1.0)
    assert sizer.extra_rows(2) == 2


def test_rows_are_added_until_a_step_takes_too_long() -> None:
    sizer = BatchSizer(0.25)
    for rows, seconds in ((2, 1.0), (4, 1.1), (8, 1.2), (16, 1.6)):
        sizer.record(rows, seconds)
    assert sizer.extra_rows(2) == 6
    # If no known size is too slow, twice as many are tried, within the limit.
    assert sizer.extra_rows(16) == MAX_ROWS - 16


def test_a_device_that_gains_nothing_by_batches_gets_none() -> None:
    sizer = BatchSizer(0.25)
    sizer.record(2, 1.0)
    sizer.record(4, 1.9)
    assert sizer.extra_rows(2) == 0


def test_one_slow_forward_pass_decides_nothing() -> None:
    sizer = BatchSizer(0.25)
    for seconds in (9.0, 1.0, 1.1):
        sizer.record(2, seconds)
    assert sizer.seconds(2) == 1.1


def test_with_a_delay_share_of_0_no_rows_are_added() -> None:
    sizer = BatchSizer(0.0)
    sizer.record(2, 1.0)
    assert sizer.extra_rows(2) == 0


def test_sizers_that_were_not_used_for_long_are_forgotten() -> None:
    sizers = BatchSizers(0.25)
    for batch_key in ("rare", "usual"):
        sizers.of("edge", batch_key).record(2, 1.0)
    # When more batch keys come than are remembered, and one of the first stays in use
    for i in range(MAX_SIZERS):
        sizers.of("edge", f"x ({i}, 64, 64)")
        sizers.of("edge", "usual")
    # Then its times are known, and the other has to be measured again
    assert sizers.of("edge", "usual").seconds(2) == 1.0
    assert sizers.of("edge", "rare").seconds(2) is None
    assert len(sizers) == MAX_SIZERS


def test_rows_for_which_memory_did_not_suffice_are_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(batch_sizer.time, "monotonic", lambda: now[0])
    sizer = BatchSizer(0.25)
    for rows in (2, 4, 8):
        sizer.record(rows, 1.0)
    sizer.note_full(12)
    assert sizer.extra_rows(8) == 3
    sizer.note_full(4)
    assert (sizer.extra_rows(2), sizer.extra_rows(4)) == (1, 0)
    # Until what is known of it expires, as times do
    now[0] += batch_sizer.EXPIRY_S + 1
    sizer.record(8, 1.0)
    assert sizer.extra_rows(8) == 8
