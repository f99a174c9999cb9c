"""Free ports."""

from infra.bench.harness.ports import free_ports


def test_ports_taken_together_differ() -> None:
    assert len(set(free_ports(20))) == 20
