"""Text encoders that are loaded apart from their models, within the memory that all models share."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from shared.errors import DeviceLost, ModelFailed
from shared.jobs.spec import JobSpec
from workers.families.base import BaseModel
from workers.families.text_encoder_weights import TextEncoderWeights
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.load_times import LoadTimes

log = logging.getLogger(__name__)


class TextEncoders:
    """Weights of text encoders by their hash: models share each one that they have alike.

    For the thread that has the device.
    """

    def __init__(
        self,
        memory: DeviceMemory,
        load: Callable[[str, str], TextEncoderWeights],
        is_apart: Callable[[str], bool] = lambda name: True,
    ) -> None:
        """``load`` is given a model's name and the part; ``is_apart``: whether the model of that name is
        loaded without its text encoders."""
        self._memory, self._load, self.is_apart = memory, load, is_apart
        self._load_times = LoadTimes()

    @contextmanager
    def use(self, model: BaseModel) -> Iterator[None]:
        """Within the block the model has its text encoders, as most models have at any time.

        They stay loaded as long as nobody needs their memory. If they do not fit beside what is in use, they
        take more than the budget for as long as the block runs. Raises `ModelFailed`, `DeviceFull`.
        """
        if model.has_text_encoders:
            yield
            return
        with ExitStack() as stack:
            weights = {}
            for part, key in self._keys(model).items():
                load = partial(self._try_load, model, part, key)
                found = stack.enter_context(self._memory.models.use(key, load)).value
                assert isinstance(found, TextEncoderWeights)
                weights[part] = found
            stack.enter_context(model.with_text_encoders(weights))
            yield

    def expected_load_s(self, model: BaseModel) -> float:
        """How long `use` will take to load them: 0 if they are loaded."""
        if model.has_text_encoders:
            return 0.0
        loaded, keys = self._memory.models.keys(), self._keys(model)
        return sum(
            self._load_times.expected_s((model.name, part), model.apart[part].weight_bytes)
            for part, key in keys.items()
            if key not in loaded
        )

    @contextmanager
    def held_for_loras(self, model: BaseModel, spec: JobSpec) -> Iterator[None]:
        """Within the block the model has its text encoders if a LoRA of the job may train them.

        Who patches them has restored them at its end (`restore_weights_on_error`). If that has failed, they
        are loaded anew for whoever needs them next: other models share them, and what they encode.
        """
        if model.has_text_encoders or not spec.loras:
            yield
            return
        with self.use(model):
            try:
                yield
            except DeviceLost:  # nothing of it is used again
                raise
            except BaseException:
                self._end_patches(model)
                raise
            self._end_patches(model)

    def _end_patches(self, model: BaseModel) -> None:
        """What a job's LoRAs have left: pristine copies of weights that may be unloaded, or patches in them.

        A patcher of weights that are not restored is kept, as it alone knows the pristine ones: the job may
        be generated once more, with text encoders that are loaded anew.
        """
        if model.patcher.is_pristine:
            model.renew_patcher()
            return
        model.patcher.distrust_weights()
        log.info("patched text encoders are not kept", extra={"model": model.name})
        for key in self._keys(model).values():
            self._memory.models.discard(key)

    def _keys(self, model: BaseModel) -> dict[str, tuple[object, str]]:
        """What each text encoder is known by; two of one model are never the same, as LoRAs patch them."""
        keys: dict[str, tuple[object, str]] = {}
        for part, encoder in model.apart.items():
            key = self, encoder.sha256
            keys[part] = (self, f"{encoder.sha256} {part}") if key in keys.values() else key
        return keys

    def _try_load(self, model: BaseModel, part: str, key: tuple[object, str]) -> TextEncoderWeights:
        memory, wanted = self._memory, model.apart[part]
        with memory.one_load_at_a_time():
            if not memory.models.reserve(key, wanted.weight_bytes):
                memory.release_others()
                fields = {"model": model.name, "part": part}
                log.info("text encoders take more than the memory for models", extra=fields)
            start = time.monotonic()
            weights = memory.retry_when_full(lambda: memory.load(lambda: self._load(model.name, part)))
            took_s = time.monotonic() - start
            self._load_times.record((model.name, part), wanted.weight_bytes, took_s)
        if weights.sha256 != wanted.sha256:
            raise ModelFailed(f"the text encoders of model {model.name!r} have changed since it was loaded")
        return weights
