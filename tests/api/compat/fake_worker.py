"""A thread that stands for a worker, in tests of compatible APIs."""

import base64
import threading
from collections.abc import Callable

from api.services import Services
from shared.image_files.formats import media_type
from shared.jobs.attempt import Attempt
from shared.jobs.record import Failure, StoredImage
from tests.api.services import image_file, receipt_of

#: What the worker does with a job that it has claimed.
Work = Callable[[Services, Attempt], None]


def generate(services: Services, attempt: Attempt) -> None:
    """Succeed with images of the job's format and size, and previews before."""
    spec = attempt.job.spec
    attempt.advance(2, 4)
    attempt.preview(base64.b64encode(image_file((8, 8))).decode(), 2)
    attempt.advance(3, 4)
    attempt.preview(base64.b64encode(image_file((8, 8))).decode(), 3)
    size = spec.width or 64, spec.height or 64
    images = []
    for n, seed in enumerate(spec.image_seeds):
        key = f"images/{attempt.job.id}-{n}.{spec.output_format}"
        data = image_file(size, spec.output_format.upper())
        services.images.put(key, data, content_type=media_type(spec.output_format))
        images.append(StoredImage(key=key, seed=seed, width=size[0], height=size[1], sha256=f"{n}" * 64))
    attempt.succeed(images, receipt_of(spec), [])


def fail(services: Services, attempt: Attempt) -> None:
    """Fail as a worker does."""
    attempt.end("failed", Failure(code="non_finite_image", detail="the VAE overflows"), [])


class FakeWorker:
    """Takes jobs in the order in which they were accepted, as a worker does, and notes them."""

    def __init__(self, services: Services) -> None:
        self.work: Work = generate
        self.jobs: list[str] = []
        self._services, self._stops = services, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stops.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stops.wait(0.02):
            page, _ = self._services.jobs.page(status="queued")
            for job in page:
                attempt = self._services.jobs.claim(job.id, "unet-1")
                if attempt is not None:
                    self.jobs.append(job.id)
                    self.work(self._services, attempt)
