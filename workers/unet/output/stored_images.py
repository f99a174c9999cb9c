"""The images of an attempt in the image bucket."""

import logging
from typing import NamedTuple

from PIL import Image

from shared.errors import SwiftError
from shared.image_files.formats import media_type
from shared.jobs.attempt import Attempt
from shared.jobs.receipt import Receipt
from shared.jobs.record import StoredImage
from shared.keys import image_key
from workers.unet.output.image_files import encode_image
from workers.unet.output.images import sha256
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)


class StoredImages(NamedTuple):
    """Where the images of an attempt are, and the size of all files together."""

    images: list[StoredImage]
    total_bytes: int


def store_images(
    worker: UNetWorker, attempt: Attempt, images: list[Image.Image], receipt: Receipt
) -> StoredImages:
    """Store each image as a file that carries its request and receipt."""
    stored, total_bytes = [], 0
    output_format = receipt.spec.output_format
    for i, image in enumerate(images):
        data = encode_image(image, receipt, i)
        key = image_key(attempt.job.id, attempt.token, i, output_format)
        worker.images.put(key, data, content_type=media_type(output_format))
        total_bytes += len(data)
        stored.append(
            StoredImage(
                key=key,
                seed=attempt.job.spec.image_seeds[i],
                width=image.width,
                height=image.height,
                sha256=sha256(data),
            )
        )
    return StoredImages(stored, total_bytes)


def delete_images(worker: UNetWorker, attempt: Attempt) -> None:
    """Delete what a lost attempt has stored; if this fails, the sweep deletes it."""
    spec = attempt.job.spec
    try:
        for i in range(spec.num_images):
            worker.images.delete(image_key(attempt.job.id, attempt.token, i, spec.output_format))
    except SwiftError as error:
        log.warning("images of a lost attempt are left to the sweep", extra={"error": str(error)})
