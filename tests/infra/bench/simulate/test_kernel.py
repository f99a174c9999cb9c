from infra.bench.simulate.kernel import Event, Process, Simulation


def test_what_happens_at_the_same_moment_happens_in_the_order_of_its_calls() -> None:
    simulation, log = Simulation(), list[tuple[float, str]]()

    def process(name: str, seconds: float) -> Process:
        yield seconds
        log.append((simulation.now_s, name))

    for name, seconds in (("late", 2.0), ("first", 1.0), ("second", 1.0)):
        simulation.start(process(name, seconds))
    simulation.run(10.0)
    assert log == [(1.0, "first"), (1.0, "second"), (2.0, "late")]


def test_an_event_happens_once_and_brings_its_first_value_to_all_who_wait() -> None:
    simulation, event, got = Simulation(), Event(), list[tuple[float, object]]()

    def waiting(before_s: float) -> Process:
        yield before_s
        got.append(((yield event), simulation.now_s))

    simulation.start(waiting(0.0))
    simulation.start(waiting(5.0))  # it has happened by then
    simulation.set(event, "early", after_s=3.0)
    simulation.set(event, "late", after_s=4.0)
    simulation.run(10.0)
    assert got == [("early", 3.0), ("early", 5.0)]


def test_time_stops_at_the_end_of_a_run_and_goes_on_with_the_next() -> None:
    simulation, log = Simulation(), list[float]()

    def ticking() -> Process:
        while True:
            yield 1.0
            log.append(simulation.now_s)

    simulation.start(ticking())
    simulation.run(2.5)
    assert log == [1.0, 2.0]
    simulation.run(3.0)
    assert log == [1.0, 2.0, 3.0]
