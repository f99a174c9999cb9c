"""Which seeds a job's pictures have."""

import secrets

from api.schemas.job_request import JobRequest
from shared.errors import InvalidRequest
from shared.message_base import MAX_SEED


def resolve_seeds(request: JobRequest) -> tuple[int, int]:
    """The first picture's seed and the number of pictures; raises `InvalidRequest`."""
    if request.seeds is not None:
        for field, given in (("seed", request.seed is not None), ("num_images", request.num_images > 1)):
            if given:
                raise InvalidRequest(f"seeds say it all: leave {field} out", field=field)
        return request.seeds[0], len(request.seeds)
    seed = secrets.randbelow(2**32) if request.seed is None else request.seed
    if seed + request.num_images - 1 > MAX_SEED:
        raise InvalidRequest(f"the last picture's seed would exceed {MAX_SEED}", field="seed")
    return seed, request.num_images
