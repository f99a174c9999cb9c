import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from api.server.threads import T
from api.services import Services
from api.submission.images.control_maps import ControlMaps
from shared.catalog.preprocessors import fill_in
from shared.keys import LOCAL
from tests.api.services import base64_of, image_file


class CountingThreads:
    """Runs work in the caller's thread, and counts how much of it there is at once."""

    def __init__(self) -> None:
        self.most = self.calls = self._now = 0
        self._lock = threading.Lock()

    def __call__(self, work: Callable[[], T]) -> T:
        with self._lock:
            self.calls += 1
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return work()
        finally:
            with self._lock:
                self._now -= 1


def test_images_are_decoded_and_maps_computed_off_the_loop_few_at_once(services: Services) -> None:
    threads = CountingThreads()
    maps_of = ControlMaps(replace(services, offload=threads), LOCAL)
    image, options = base64_of(image_file()), fill_in("canny", {})

    def compute(_: int) -> bytes:
        return maps_of.compute(image, "canny", options, field="image", size_of=lambda own: own)

    with ThreadPoolExecutor(8) as clients:
        maps = set(clients.map(compute, range(8)))
    assert len(maps) == 1
    assert threads.calls == 16
    assert threads.most <= 4
