"""Control images of jobs, and the maps that are made of them."""

import hashlib
import io

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from shared.catalog.preprocessors import fill_in
from shared.keys import CONTROL_PREFIX, LOCAL, control_key
from tests.tiny_models import EMOJI
from tests.workers.unet.jobs import control, pixels, run
from tests.workers.unet.output.test_replay import MakeWorker, again, png
from tests.workers.unet.specs import spec
from workers.unet.control_images import in_range
from workers.unet.job import execute_job


def test_a_controlnet_and_its_replay_take_the_map_at_the_images_size(
    make_worker: MakeWorker,
) -> None:
    worker = make_worker()
    with Image.open(EMOJI / "control" / "colour_cat.png") as source:
        file = io.BytesIO()
        source.convert("RGB").resize((150, 150)).save(file, "PNG")
    image = hashlib.sha256(file.getvalue()).hexdigest()
    worker.images.put(control_key(image, tenant=LOCAL), file.getvalue(), content_type="image/png")
    options = fill_in("canny", {"low_threshold": 40})
    controlnet = control(worker, image=image, preprocessor="canny", preprocessor_options=options)
    job = run(worker, spec(controlnets=[controlnet]))
    assert job.receipt is not None
    [used] = job.receipt.spec.controlnets
    assert (used.image, used.preprocessor, used.preprocessor_options) == (image, "canny", options)
    assert used.control_map is not None
    stored = worker.images.get(control_key(used.control_map, tenant=LOCAL))
    assert hashlib.sha256(stored).hexdigest() == used.control_map
    assert Image.open(io.BytesIO(stored)).size == (64, 64)
    # The ControlNet has seen exactly that: as a control image of its own, it gives the same pixels
    shown = run(worker, spec(controlnets=[control(worker, image=used.control_map)]))
    assert np.array_equal(pixels(worker, shown), pixels(worker, job))
    # And a replay does not ask OpenCV again
    replayed = again(worker, job)
    assert "canny" in [span.name for span in job.timeline]
    assert "canny" not in [span.name for span in replayed.timeline]
    assert png(worker, replayed) == png(worker, job)


def test_ranges_have_the_bits_of_diffusers_processors() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([every] * 3, axis=-1))
    pixels = VaeImageProcessor(do_normalize=False).preprocess(image)
    assert torch.equal(in_range(pixels, (0.0, 1.0)), pixels)
    assert torch.equal(in_range(pixels, (-1.0, 1.0)), VaeImageProcessor().preprocess(image))
    assert torch.equal(in_range(pixels, (0.5, 128.0)), pixels * 255 * 0.5 + 0.5)


def test_a_tenants_images_are_read_and_stored_as_its_own(make_worker: MakeWorker) -> None:
    worker = make_worker()
    controlnet = control(worker, preprocessor="canny", preprocessor_options=fill_in("canny", {}))
    png = worker.images.get(control_key(controlnet.image, tenant=LOCAL))
    worker.images.delete(control_key(controlnet.image, tenant=LOCAL))
    worker.images.put(control_key(controlnet.image, "acme"), png, content_type="image/png")
    wanted = spec(controlnets=[controlnet], image=controlnet.image, strength=0.5)
    before = {stat.key for stat in worker.images.list(CONTROL_PREFIX)}
    job_id, _ = worker.jobs.create(wanted, tenant="acme")
    assert execute_job(worker, job_id, "unet1@test") == "succeeded"
    receipt = worker.jobs.get(job_id, tenant="acme").receipt
    assert receipt is not None
    control_map = str(receipt.spec.controlnets[0].control_map)
    stored = {stat.key for stat in worker.images.list(CONTROL_PREFIX)}
    assert stored - before == {control_key(control_map, "acme")}
