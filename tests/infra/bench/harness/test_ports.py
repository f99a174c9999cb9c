"""Free ports."""

from infra.bench.harness.ports import free_ports, stack_ports
from shared.settings import Settings


def test_ports_taken_together_differ() -> None:
    assert len(set(free_ports(20))) == 20


def test_the_servers_of_a_stack_get_different_ports_by_their_settings() -> None:
    ports = stack_ports()
    assert set(ports) == {name for name in Settings.model_fields if name.endswith("_port")}
    assert len(set(ports.values())) == len(ports)
