"""Text encoders that are loaded apart from their models, within the memory that all models share."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.errors import DeviceLost, ModelFailed
from shared.jobs.spec import JobSpec
from workers.families.base import BaseModel
from workers.families.text_encoder_weights import TextEncoderWeights
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.load_times import LoadTimes

log = logging.getLogger(__name__)


class TextEncoders:
    """Weights of text encoders by their hash: models that have the same ones share them.

    For the thread that has the device.
    """

    def __init__(
        self,
        memory: DeviceMemory,
        load: Callable[[str], TextEncoderWeights],
        is_apart: Callable[[str], bool] = lambda name: True,
    ) -> None:
        """``is_apart``: whether the model of that name is loaded without its text encoders."""
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
        with self._memory.models.use(self._key(model), lambda: self._try_load(model)) as pinned:
            weights = pinned.value
            assert isinstance(weights, TextEncoderWeights)
            with model.with_text_encoders(weights):
                yield

    def expected_load_s(self, model: BaseModel) -> float:
        """How long `use` will take to load them: 0 if they are loaded."""
        loaded = self._memory.models.keys()
        if model.has_text_encoders or self._key(model) in loaded:
            return 0.0
        return self._load_times.expected_s(model.name, model.apart_bytes)

    @contextmanager
    def held_for_loras(self, model: BaseModel, spec: JobSpec) -> Iterator[None]:
        """Within the block the model has its text encoders if a LoRA of the job may train them.

        Nothing of the LoRAs stays in weights that may be unloaded before the next job.
        """
        if model.has_text_encoders or not spec.loras:
            yield
            return
        with self.use(model):
            try:
                yield
                model.patcher.restore()
            except DeviceLost:
                raise
            except BaseException:  # who runs the job has restored the weights
                model.renew_patcher()
                raise
            model.renew_patcher()

    def _key(self, model: BaseModel) -> tuple[object, str]:
        return self, model.text_weights_sha256

    def _try_load(self, model: BaseModel) -> TextEncoderWeights:
        memory = self._memory
        with memory.one_load_at_a_time():
            if not memory.models.reserve(self._key(model), model.apart_bytes):
                memory.release_others()
                log.info("text encoders take more than the memory for models", extra={"model": model.name})
            start = time.monotonic()
            weights = memory.retry_when_full(lambda: memory.load(lambda: self._load(model.name)))
            self._load_times.record(model.name, model.apart_bytes, time.monotonic() - start)
        if weights.sha256 != model.text_weights_sha256:
            raise ModelFailed(f"the text encoders of model {model.name!r} have changed since it was loaded")
        return weights
