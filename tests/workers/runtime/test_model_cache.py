import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from shared.errors import ModelFailed, Unavailable
from workers.runtime import model_cache
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.load_times import BYTES_PER_S, MIN_LOAD_S, UNKNOWN_LOAD_S, LoadTimes
from workers.runtime.model_cache import ModelCache


@dataclass
class Thing:
    name: str
    weight_bytes: int = 10


@dataclass
class Loader:
    """Makes things of ten bytes, and notes how much was held beside each while it was made."""

    memory: DeviceMemory
    beside: list[int] = field(default_factory=list)

    def __call__(self, name: str) -> Thing:
        self.beside.append(sum(thing.weight_bytes for _, thing in self.memory.models.items()))
        return Thing(name)


def ten(name: str) -> int:
    return 10


@pytest.fixture
def make() -> Callable[[int], tuple[ModelCache[Thing], Loader]]:
    def make(capacity_bytes: int) -> tuple[ModelCache[Thing], Loader]:
        loader = Loader(DeviceMemory(capacity_bytes))
        return ModelCache(loader, loader.memory, ten), loader

    return make


Make = Callable[[int], tuple[ModelCache[Thing], Loader]]


def test_the_least_recently_used_model_is_evicted_first(make: Make) -> None:
    models, _ = make(20)
    for name in ("a", "b", "a", "c"):
        with models.use(name):
            pass
    assert models.names() == ["a", "c"]


def test_models_are_evicted_before_another_is_loaded(make: Make) -> None:
    models, loader = make(20)
    for name in ("a", "b", "c", "a"):
        with models.use(name):
            pass
    assert loader.beside == [0, 10, 10, 10]


def test_a_load_waits_for_the_memory_of_models_in_use(make: Make) -> None:
    models, loader = make(10)
    with models.use("a") as held:
        waiting = threading.Thread(target=lambda: models.use("b").__enter__())
        waiting.start()
        assert models.names() == ["a"]
    waiting.join(timeout=60)
    assert models.names() == ["b"]
    assert (loader.beside, held.name) == ([0, 0], "a")


def test_the_wait_for_memory_is_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "MEMORY_WAIT_S", 0.01)
    models, _ = make(10)
    with models.use("a"), pytest.raises(Unavailable, match="'b'"), models.use("b"):
        pass


def test_a_model_that_can_never_fit_is_refused_with_both_sizes(make: Make) -> None:
    models, _ = make(9)
    with pytest.raises(ModelFailed, match=r"'a' takes 10 bytes.*MODEL_MEMORY_BYTES is 9"), models.use("a"):
        pass


def test_two_caches_share_one_memory() -> None:
    memory = DeviceMemory(20)
    models, controlnets = ModelCache(Thing, memory, ten), ModelCache(Thing, memory, ten)
    with models.use("a"), controlnets.use("a"):
        pass
    with controlnets.use("b"):
        assert (models.names(), controlnets.names()) == ([], ["a", "b"])


def test_a_model_that_grew_while_in_use_evicts_others(make: Make) -> None:
    models, _ = make(20)
    with models.use("a"):
        pass
    with models.use("b") as grown:
        grown.weight_bytes = 20
    assert models.names() == ["b"]


def test_use_loaded_loads_nothing(make: Make) -> None:
    models, loader = make(20)
    with models.use_loaded("a") as nothing:
        assert nothing is None
    with models.use("a"), models.use_loaded("a") as thing:
        assert thing is not None
    assert loader.beside == [0]


def test_a_failed_load_caches_nothing() -> None:
    def load(name: str) -> Thing:
        raise OSError(name)

    models = ModelCache(load, DeviceMemory(10))
    with pytest.raises(OSError, match="a"), models.use("a"):
        pass
    assert models.names() == []


def test_a_discarded_model_is_loaded_anew(make: Make) -> None:
    models, _ = make(10)
    with models.use("a") as first:
        models.discard("a")
    with models.use("a") as second:
        assert second is not first


def test_a_failed_model_is_not_tried_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def load(name: str) -> Thing:
        tries.append(name)
        if len(tries) < 3:
            raise ModelFailed(f"{name} is cut off")
        return Thing(name)

    models = ModelCache(load, DeviceMemory(100))
    for _ in range(3):
        with pytest.raises(ModelFailed, match="a is cut off"), models.use("a"):
            pass
    assert (tries, models.failed()) == (["a"], {"a": "a is cut off"})
    # Others are loaded meanwhile, and after the pause this one is tried again; twice as long a pause follows
    monkeypatch.setattr(model_cache, "RETRY_S", 0.0)
    monkeypatch.setattr(model_cache, "MAX_RETRY_S", 0.0)
    other = ModelCache(load, DeviceMemory(100))
    with pytest.raises(ModelFailed), other.use("b"):
        pass
    with other.use("b"):
        assert (other.names(), other.failed()) == (["b"], {})


def test_the_pause_before_another_try_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(model_cache.time, "monotonic", lambda: now[0])
    models = ModelCache(Thing, DeviceMemory(100))
    for start, pause_s in ((0.0, 60.0), (60.0, 120.0), (180.0, 240.0)):
        now[0] = start
        models.mark_failed("a", "cut off")
        now[0] = start + pause_s - 1
        assert models.failed() == {"a": "cut off"}
        now[0] = start + pause_s
        assert models.failed() == {}


def test_a_model_marked_as_failed_is_not_loaded(make: Make) -> None:
    models, loader = make(100)
    models.mark_failed("a", "it is a LoRA")
    with pytest.raises(ModelFailed, match="it is a LoRA"), models.use("a"):
        pass
    assert loader.beside == []


def test_a_load_takes_no_more_room_than_it_may(make: Make) -> None:
    models, _ = make(20)
    with models.use("a"):
        with models.use("b", room="free"):
            pass
        with pytest.raises(Unavailable, match="'c'"), models.use("c", room="free"):
            pass
        assert models.names() == ["a", "b"]
        with models.use("c", room="idle"):
            assert models.names() == ["a", "c"]
            with pytest.raises(Unavailable, match="'d'"), models.use("d", room="idle"):
                pass


def test_loads_are_expected_to_take_as_long_as_the_last_one_or_by_their_bytes() -> None:
    times = LoadTimes()
    assert times.expected_s("large", int(10 * BYTES_PER_S)) == pytest.approx(10.0)
    assert times.expected_s("small", 1) == MIN_LOAD_S
    assert times.expected_s("unknown", 0) == UNKNOWN_LOAD_S
    # When one was loaded at half that rate
    times.record("large", int(10 * BYTES_PER_S), 20.0)
    assert times.expected_s("large", 0) == 20.0
    assert times.expected_s("other", int(BYTES_PER_S)) == pytest.approx(2.0)
    times.record("large", int(10 * BYTES_PER_S), 0.1)
    assert times.expected_s("large", 0) == 0.1


def test_the_files_of_a_model_are_looked_at_once_however_often_its_load_is_expected() -> None:
    sizes, looks = {"a": 0, "b": int(4 * BYTES_PER_S)}, []

    def estimate(name: str) -> int:
        looks.append(name)
        return sizes[name]

    models = ModelCache(Thing, DeviceMemory(1 << 40), estimate)
    assert [models.expected_load_s("b") for _ in range(3)] == [pytest.approx(4.0)] * 3
    assert looks == ["b"]
    # One that nobody knew yet is looked at again
    assert models.expected_load_s("a") == UNKNOWN_LOAD_S
    sizes["a"] = int(2 * BYTES_PER_S)
    assert models.expected_load_s("a") == pytest.approx(2.0)
    # And a load looks anew: the files may be others
    sizes["b"] = 7
    with models.use("b"):
        assert models.estimated_bytes("b") == 7


def test_a_cache_measures_its_loads(make: Make) -> None:
    models, _ = make(20)
    assert models.expected_load_s("a") == MIN_LOAD_S
    with models.use("a"):
        pass
    assert models.expected_load_s("a") < MIN_LOAD_S
