"""The image that a job's latest preview shows, as this API's clients expect it: in the size of the result."""

import io

from PIL import Image

from api.compat.a1111.generation.sizes import size_of
from api.routes.images.latest_preview import latest_preview
from api.services import Services
from shared.jobs.record import Job

#: Of a model whose files do not say their size.
_SIZE = 512, 512


def current_image(job: Job, services: Services) -> bytes | None:
    """The latest preview, which has one pixel for each latent; a PNG, or ``None``."""
    preview = latest_preview(services.control, job.id)
    if preview is None:
        return None
    spec, png = job.spec, preview.png
    size = size_of(spec.width, spec.height, spec.model, services) or _SIZE
    return services.offload(lambda: _enlarged(png, size))


def _enlarged(png: bytes, size: tuple[int, int]) -> bytes:
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        enlarged = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    enlarged.save(file, "PNG", compress_level=1)
    return file.getvalue()
