"""Free ports, so that several stacks run side by side."""

import socket
from collections.abc import Collection
from contextlib import ExitStack

#: SeaweedFS takes this many ports in a row, and each + GRPC_OFFSET.
S3_PORTS, GRPC_OFFSET = 5, 10_000
FIRST, LAST = 20_000, 55_000
#: Of the ports that this process was given; it holds them until it ends.
_claims: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody listens on right now."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_s3_port(taken: Collection[int] = ()) -> int:
    """The first of the ports the embedded S3 server takes, all of them free and none of them ``taken``.

    A caller that has chosen other ports, and does not listen on them yet, names them. While this process
    lives, no process is given the same again, though nobody listens there yet.
    """
    wanted = (range(port, port + S3_PORTS) for port in range(FIRST, LAST, S3_PORTS))
    return next(
        ports[0]
        for ports in wanted
        if all(_is_free(port, taken) for port in _with_grpc(ports)) and _claim(ports[0])
    )


def stack_ports() -> dict[str, int]:
    """Free ports for the servers of a local stack, by the names of their settings."""
    api, flower, redis, residual_redis = others = free_ports(4)
    return {
        "api_port": api,
        "flower_port": flower,
        "redis_port": redis,
        "residual_redis_port": residual_redis,
        "s3_port": free_s3_port(others),
    }


def _with_grpc(ports: range) -> list[int]:
    return [port + offset for port in ports for offset in (0, GRPC_OFFSET)]


def _claim(first: int) -> bool:
    """Take the ports from ``first`` on for this process; ``False`` if a process has taken them before.

    By a name that Linux keeps for each network, as it keeps ports, and frees when the process ends.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0swiftdiffusion-s3-ports-{first}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True


def _is_free(port: int, taken: Collection[int]) -> bool:
    if port in taken:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
