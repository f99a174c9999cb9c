"""``python -m tests.infra.bench.harness.counting_process`` counts what it computes, as seconds."""

from itertools import count

from infra.bench.harness.background_process import Compute, serve


def make() -> Compute:
    numbers = count(1)

    def compute() -> list[float]:
        number = float(next(numbers))
        return [number, 10 * number]

    return compute


if __name__ == "__main__":
    serve(make)
