"""Free ports."""

import subprocess
import sys

from infra.bench.harness.ports import GRPC_OFFSET, S3_PORTS, free_ports, free_s3_port, stack_ports
from shared.settings import ROOT, Settings


def test_ports_taken_together_differ() -> None:
    assert len(set(free_ports(20))) == 20


def test_the_servers_of_a_stack_get_different_ports_by_their_settings() -> None:
    ports = stack_ports()
    assert set(ports) == {name for name in Settings.model_fields if name.endswith("_port")}
    assert len(set(ports.values())) == len(ports)


def test_ports_of_the_s3_server_that_another_process_has_chosen_are_not_given_again() -> None:
    program = "from infra.bench.harness.ports import free_s3_port; print(free_s3_port(), flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], text=True, cwd=ROOT, **pipes) as other:
        # Given a process that does not listen on them yet
        assert other.stdout is not None
        chosen = int(other.stdout.readline())
        assert free_s3_port() != chosen
        other.communicate("\n")


def test_no_port_of_the_s3_server_is_one_that_was_chosen_before() -> None:
    """Nobody listens on those yet, so that they look free."""
    first = free_s3_port()
    for chosen in (first, first + S3_PORTS - 1, first + GRPC_OFFSET):
        other = free_s3_port([chosen])
        own = {other + n + offset for n in range(S3_PORTS) for offset in (0, GRPC_OFFSET)}
        assert chosen not in own
