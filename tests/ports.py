"""Free ports for servers that tests start."""

import os
import socket


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_s3_port() -> int:
    """The S3 server takes five ports in a row, and each + 10000."""
    start = 20_000 + os.getpid() % 10_000
    candidates = (start + 7 * i for i in range(3_000))
    wanted = (p for p in candidates if p + 10_004 < 65_536)
    return next(p for p in wanted if all(_is_free(q + d) for q in range(p, p + 5) for d in (0, 10_000)))
