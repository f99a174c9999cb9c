"""A process that computes while something else is measured."""

from infra.bench.harness.background_process import running_background_process


def test_it_answers_with_the_medians_of_its_times_of_one_computation_at_least() -> None:
    with running_background_process("tests.infra.bench.harness.counting_process") as process:
        process.go(every_s=60.0)
        assert process.stop() == [1.0, 10.0]
        process.go()
        one, ten = process.stop()
        assert one >= 2
        assert ten == 10 * one
