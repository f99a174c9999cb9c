"""Work on whole images for any route, a few at a time."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import pytest

from api.services import Services
from api.submission.images.control_maps import ControlMaps
from api.submission.images.image_work import AT_ONCE, work_on_images
from api.submission.images.reader import ImageReader
from shared.keys import LOCAL, control_key
from tests.api.services import base64_of, image_file

T = TypeVar("T")
PNG = image_file()
SHA256 = hashlib.sha256(PNG).hexdigest()


def decode(services: Services) -> None:
    ImageReader(services, LOCAL).read(base64_of(PNG), field="image")


def compute_a_control_map(services: Services) -> None:
    maps = ControlMaps(services, LOCAL)
    maps.compute(f"sha256:{SHA256}", "invert", {}, field="image", size_of=lambda own: own)


@pytest.mark.parametrize("work", [decode, compute_a_control_map])
def test_all_kinds_of_work_on_images_share_one_bound(
    work: Callable[[Services], None], services: Services
) -> None:
    services.images.put(control_key(SHA256, LOCAL), PNG, content_type="image/png")
    entered, may_end, has_begun = threading.Semaphore(0), threading.Event(), threading.Event()

    def occupy() -> None:
        entered.release()
        may_end.wait(30)

    def offload(computation: Callable[[], T]) -> T:
        has_begun.set()
        return computation()

    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        try:
            for _ in range(AT_ONCE):
                pool.submit(work_on_images, occupy, services)
                assert entered.acquire(timeout=30)
            waits = pool.submit(work, replace(services, offload=offload))
            assert not has_begun.wait(0.2)
        finally:
            may_end.set()
        waits.result(timeout=30)
    assert has_begun.is_set()
