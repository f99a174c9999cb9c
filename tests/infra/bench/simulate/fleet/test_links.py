import pytest

from infra.bench.simulate.fleet.links import SharedLink
from infra.bench.simulate.kernel import Process, Simulation


def ends_of(*transfers: tuple[float, float]) -> list[float]:
    """When transfers of (start in s, bytes) end on a link of 10 bytes a second."""
    simulation = Simulation()
    link, ends = SharedLink(simulation, 10.0), [0.0] * len(transfers)

    def transfer(i: int, at_s: float, size_bytes: float) -> Process:
        yield at_s
        yield link.transfer(size_bytes)
        ends[i] = simulation.now_s

    for i, (at_s, size_bytes) in enumerate(transfers):
        simulation.start(transfer(i, at_s, size_bytes))
    simulation.run(1000.0)
    return ends


@pytest.mark.parametrize(
    ("transfers", "ends"),
    [
        ([(0.0, 100.0)], [10.0]),
        ([(0.0, 100.0), (0.0, 100.0)], [20.0, 20.0]),
        # 50 bytes alone, then both have half: the first needs 10 s more, the second 50 bytes alone after that
        ([(0.0, 100.0), (5.0, 100.0)], [15.0, 20.0]),
        ([(0.0, 100.0), (2.0, 10.0)], [11.0, 4.0]),
        ([(0.0, 10.0), (7.0, 10.0)], [1.0, 8.0]),
    ],
)
def test_transfers_share_a_link_evenly(transfers: list[tuple[float, float]], ends: list[float]) -> None:
    assert ends_of(*transfers) == pytest.approx(ends)


def test_many_transfers_at_once_take_as_long_as_their_bytes() -> None:
    assert max(ends_of(*((i * 0.01, 7.0 + i % 5) for i in range(200)))) == pytest.approx(
        sum(7.0 + i % 5 for i in range(200)) / 10, abs=0.01
    )
