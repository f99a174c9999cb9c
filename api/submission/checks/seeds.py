"""Which seeds a job's images have."""

import secrets

from api.schemas.job_request import JobRequest
from shared.errors import InvalidRequest
from shared.message_base import MAX_SEED


def check_seeds(request: JobRequest, *, limit: int) -> tuple[int, int]:
    """The first image's seed and the number of images, at most ``limit``; raises `InvalidRequest`."""
    if request.seeds is None:
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        if seed + request.num_images - 1 > MAX_SEED:
            raise InvalidRequest(f"the last image's seed would exceed {MAX_SEED}", field="seed")
        _check_number(request.num_images, limit, field="num_images")
        return seed, request.num_images
    for field, is_given in (("seed", request.seed is not None), ("num_images", request.num_images > 1)):
        if is_given:
            raise InvalidRequest(f"seeds say it all: leave {field} out", field=field)
    _check_number(len(request.seeds), limit, field="seeds")
    return request.seeds[0], len(request.seeds)


def _check_number(num_images: int, limit: int, *, field: str) -> None:
    if num_images > limit:
        raise InvalidRequest(f"num_images is {num_images}, the limit is {limit}", field=field)
