"""The images of an attempt in the image bucket."""

import logging
from typing import NamedTuple

from PIL import Image

from shared.errors import SwiftError
from shared.jobs.attempt import Attempt
from shared.jobs.receipt import Receipt
from shared.jobs.record import StoredImage
from shared.keys import image_key
from workers.unet.output.images import encode_png, sha256
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)


class StoredImages(NamedTuple):
    """Where the images of an attempt are, and the size of all files together."""

    images: list[StoredImage]
    total_bytes: int


def store_images(
    worker: UNetWorker, attempt: Attempt, images: list[Image.Image], receipt: Receipt
) -> StoredImages:
    """Store each image as a PNG that carries its request and receipt."""
    stored, total_bytes = [], 0
    for i, image in enumerate(images):
        png = encode_png(image, receipt, i)
        key = image_key(attempt.job.id, attempt.token, i)
        worker.images.put(key, png, content_type="image/png")
        total_bytes += len(png)
        stored.append(
            StoredImage(
                key=key,
                seed=attempt.job.spec.image_seeds[i],
                width=image.width,
                height=image.height,
                sha256=sha256(png),
            )
        )
    return StoredImages(stored, total_bytes)


def delete_images(worker: UNetWorker, attempt: Attempt) -> None:
    """Delete what a lost attempt has stored; if this fails, the sweep deletes it."""
    try:
        for i in range(attempt.job.spec.num_images):
            worker.images.delete(image_key(attempt.job.id, attempt.token, i))
    except SwiftError as error:
        log.warning("images of a lost attempt are left to the sweep", extra={"error": str(error)})
