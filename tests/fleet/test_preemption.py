"""An interactive job takes the device of a batch job, which goes on from its checkpoint to the same image."""

import numpy as np

from tests.fleet.conftest import Client

#: Some seconds on a processor: until the interactive job has taken the device; then it waits.
LONG = {"num_inference_steps": 40, "num_images": 2, "latent_parallelism": "off"}


def test_an_interactive_job_is_done_before_a_batch_job_that_began_sooner(fleet: Client) -> None:
    # Given a batch job that computes, on a fleet of one UNet worker
    batch = fleet.submit(priority="batch", **LONG)
    fleet.wait(batch, until=("running",))
    # When an interactive job comes, then it is done while the batch job is not
    urgent = fleet.generate(priority="interactive", num_inference_steps=4)
    interrupted = fleet.job(batch)
    assert interrupted["status"] in ("queued", "running"), "it ended before it could be preempted"
    # And the batch job goes on where it was, to the same image, and has lost no attempt
    done = fleet.wait(batch)
    assert done["status"] == "succeeded", done["error"]
    assert len(done["receipt"]["continued_at"]) == 1
    assert urgent["finished_at"] < done["finished_at"]
    undisturbed = fleet.generate(**LONG)
    assert np.array_equal(fleet.pixels(done), fleet.pixels(undisturbed))
