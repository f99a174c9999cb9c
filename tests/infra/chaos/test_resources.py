from infra.chaos.resources import Life, Process, Sample, grown, lives

COUNTS = {"control connections": 20, "residual connections": 20, "files": 30, "processes": 9}


def samples(*megabytes: float, pid: int = 1) -> list[Sample]:
    """One every ten seconds."""
    return [Sample(10.0 * i, {}, COUNTS, [Process("unet1", pid, mb)]) for i, mb in enumerate(megabytes)]


def test_memory_that_rises_while_a_process_starts_is_no_leak() -> None:
    flat = samples(100, 150, 300, 400, 469, 500, *[600.0] * 8)
    assert [life.is_growing() for life in lives(flat)] == [False]
    assert list(grown(flat[0], flat[-1], flat)) == []


def test_memory_that_goes_on_rising_is_named_with_its_process() -> None:
    rising = samples(*(500.0 + 50 * i for i in range(12)))
    [violation] = grown(rising[0], rising[-1], rising)
    assert "memory of unet1" in violation


def test_a_process_that_was_ended_soon_is_not_judged() -> None:
    assert lives([*samples(1, 100, 900), *samples(1, 100, 900, pid=2)]) == []


def test_connections_and_processes_that_were_not_there_before_are_named() -> None:
    before = Sample(0.0, {}, COUNTS)
    after = Sample(300.0, {}, COUNTS | {"control connections": 40, "processes": 10})
    assert [text.partition(":")[0] for text in grown(before, after, [])] == [
        "processes",
        "control connections",
    ]


def test_connections_that_a_fleet_had_in_the_first_half_of_a_run_are_no_leak() -> None:
    before = Sample(0.0, {}, COUNTS)
    busy = [Sample(float(i), {}, COUNTS | {"control connections": 60}) for i in range(4)]
    after = Sample(300.0, {}, COUNTS | {"control connections": 66})
    assert list(grown(before, after, [*busy, after])) == []


def test_a_server_may_grow_to_what_it_is_told_to_take() -> None:
    assert not Life("s3", 170.0, 265.0, 324.0).is_growing()
    assert Life("s3", 170.0, 365.0, 424.0).is_growing()
    assert Life("unet1", 170.0, 265.0, 324.0).is_growing()
    # So may a worker that loads models one after another
    assert not Life("unet1", 170.0, 265.0, 324.0).is_growing({"unet1": 400.0})
    rising = samples(*(500.0 + 50 * i for i in range(12)))
    assert list(grown(rising[0], rising[-1], rising, {"unet1": 1100.0})) == []
