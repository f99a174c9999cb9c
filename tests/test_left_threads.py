"""The check that no test leaves a thread behind."""

import threading

from tests.left_threads import left_threads


def test_a_thread_that_a_test_has_left_behind_is_named() -> None:
    before, over = threading.enumerate(), threading.Event()
    thread = threading.Thread(target=over.wait, name="controlnet server")
    thread.start()
    assert left_threads(before, end_s=0.01) == ["controlnet server"]
    over.set()
    assert left_threads(before) == []


def test_threads_that_were_there_before_and_harmless_ones_are_not_left_behind() -> None:
    over = threading.Event()
    threads = [threading.Thread(target=over.wait, name=name) for name in ("old", "embeddings_0")]
    threads[0].start()
    before = threading.enumerate()
    threads[1].start()
    assert left_threads(before, end_s=0.0) == []
    over.set()
    for thread in threads:
        thread.join()
