"""The process that hands residuals over: ``python -m infra.bench.parts.transport.producer``.

The first line of its input says where everything is, each further one what to send: ``TRANSPORT STEP
NUMBER``. It answers each with the moment at which it began.
"""

import sys
import time

import torch

from infra.bench.parts.transport.transports import STEPS, Addresses, Raw, make_residuals, make_transports


def produce() -> None:
    """Do what the input says until it ends."""
    torch.set_num_threads(1)
    transports = make_transports(Addresses.model_validate_json(sys.stdin.readline()))
    raw = transports["raw"]
    assert isinstance(raw, Raw)
    raw.connect()
    residuals = {step: make_residuals(step) for step in STEPS}
    print("ready", flush=True)
    for line in sys.stdin:
        transport, step, number = line.split()
        began = time.monotonic()
        transports[transport].send(int(number), residuals[step])
        print(began, flush=True)


if __name__ == "__main__":
    produce()
