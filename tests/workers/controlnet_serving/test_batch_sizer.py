from workers.controlnet_serving.batch_sizer import KINDS, MAX_ROWS, BatchSizer, BatchSizers


def test_the_first_pass_is_measured_alone() -> None:
    company = BatchSizer(0.25)
    assert company.room(2) == 0
    company.note(2, 1.0)
    assert company.room(2) == 2


def test_company_is_welcome_up_to_the_rows_that_make_a_step_too_slow() -> None:
    company = BatchSizer(0.25)
    for rows, seconds in ((2, 1.0), (4, 1.1), (8, 1.2), (16, 1.6)):
        company.note(rows, seconds)
    assert company.room(2) == 6
    # What is fast enough so far is doubled, within limits.
    assert company.room(16) == MAX_ROWS - 16


def test_a_device_that_gains_nothing_computes_one_job_at_a_time() -> None:
    company = BatchSizer(0.25)
    company.note(2, 1.0)
    company.note(4, 1.9)
    assert company.room(2) == 0


def test_one_slow_pass_decides_nothing() -> None:
    company = BatchSizer(0.25)
    for seconds in (9.0, 1.0, 1.1):
        company.note(2, seconds)
    assert company.seconds(2) == 1.1


def test_without_a_share_there_is_no_company() -> None:
    company = BatchSizer(0.0)
    company.note(2, 1.0)
    assert company.room(2) == 0


def test_kinds_of_steps_that_are_not_asked_for_any_more_are_forgotten() -> None:
    companies = BatchSizers(0.25)
    for stack in ("rare", "usual"):
        companies.of("edge", stack).note(2, 1.0)
    # When more kinds come than are remembered, and one of the first stays in use
    for i in range(KINDS):
        companies.of("edge", f"x ({i}, 64, 64)")
        companies.of("edge", "usual")
    # Then that one is known, and the other has to be measured again
    assert companies.of("edge", "usual").seconds(2) == 1.0
    assert companies.of("edge", "rare").seconds(2) is None
    assert len(companies._known) == KINDS
