"""Keys at the residual servers carry the version of the messages, so that two versions share none."""

from redis import Redis

from shared.keys import TRANSPORT
from shared.settings import Settings
from tests.workers.transport.transport_ends import TransportEnds, X, make_response, noise
from tests.workers.unet.controlnet_jobs import ask, make_controlnets, make_line, spec


def test_every_key_of_the_transport_begins_with_its_version(residual: Redis, servers: Settings) -> None:
    # Given a claimed step of an exact job and one of another that waits, an input, and residuals of two sizes
    residual.flushall()
    settings = servers.model_copy(update={"shared_memory": "off"})
    line = make_line(residual, settings)
    for name, is_exact in (("edge", True), ("depth", True), ("depth", False)):
        ask(make_controlnets(line, spec(name), alone=is_exact))
    queued = line.steps.pop(["edge"])
    assert queued is not None
    assert line.steps.claim(queued) is not None
    ends = TransportEnds([residual], settings)
    ends.unet.put_input(X)
    sizes = [(make_response(0), noise(2, 8)), (make_response(1), noise(2, 64, 32, 32))]
    ends.controlnet.respond(ends.send_step(), sizes)
    # Then no key has a name without the version
    names = {key.decode() for key in residual.scan_iter("*")}
    kinds = {name.removeprefix(f"{TRANSPORT}:").partition(":")[0] for name in names}
    assert all(name.startswith(f"{TRANSPORT}:") for name in names)
    assert kinds == {
        "claims",
        "exact_steps",
        "input",
        "lease",
        "payload",
        "request",
        "responses",
        "served",
        "step_token",
        "steps",
    }
