"""Encodes the prompts of jobs, unless some worker has encoded the same texts with the same weights lately."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from shared import metrics
from shared.jobs.spec import JobSpec
from workers.devices.base import Device, HostCopy
from workers.families.base import BaseModel, Conditioning
from workers.unet.embeddings.embedding_memory import EmbeddingMemory
from workers.unet.embeddings.key import embeddings_key
from workers.unet.embeddings.shared_embeddings import SharedEmbeddings
from workers.unet.embeddings.text_encoders import TextEncoders

log = logging.getLogger(__name__)

#: Of the host's memory, for embeddings that this worker has used lately: about 130 prompts of SD 1.
MEMORY_BYTES = 64 << 20

#: Has another worker encode the texts of a key, and waits for so many seconds; whether they are stored.
AskOthers = Callable[[str, float], bool]


class PromptEncoder:
    """Finds embeddings in this worker's memory or at the residual server, and stores those it computes.

    Their bits are those that encoding here would give; see `embeddings_key`.
    """

    def __init__(
        self,
        shared: SharedEmbeddings | None = None,
        text_encoders: TextEncoders | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """``shared``: where other workers find them; ``None``: nowhere.

        ``text_encoders``: loads those that are apart from their models; ``None``: all models have theirs.
        """
        self._shared, self._text_encoders = shared, text_encoders
        self._memory = EmbeddingMemory(memory_bytes)
        self._thread = ThreadPoolExecutor(1, "embeddings")
        self._storing: Future[None] | None = None

    def encode_prompt(
        self, model: BaseModel, spec: JobSpec, device: Device, ask: AskOthers | None = None
    ) -> Conditioning:
        """See `BaseModel.encode_prompt`; called again when a LoRA has changed a text encoder.

        ``ask`` is called before text encoders are loaded that are apart from their model.
        """
        key = embeddings_key(model, spec)
        found = None if key is None else self._find(key, model, ask)
        if found is not None:
            texts: Mapping[str, Tensor] = {name: device.from_host(tensor) for name, tensor in found.items()}
        else:
            with self.with_text_encoders(model):
                texts = model.encode_texts(spec)
            if key is not None:
                copies = {name: device.to_host(tensor) for name, tensor in texts.items()}
                self._storing = self._thread.submit(self._store, key, copies)
        return model.make_conditioning(spec, texts)

    def encodes_for_others(self, model: str) -> bool:
        """Whether other workers may ask for embeddings of this model's text encoders."""
        is_apart = self._text_encoders is not None and self._text_encoders.is_apart(model)
        return self._shared is not None and self._shared.is_available and not is_apart

    def held_for_loras(self, model: BaseModel, spec: JobSpec) -> AbstractContextManager[None]:
        """See `TextEncoders.held_for_loras`: around everything that patches the job's LoRAs."""
        return self._text_encoders.held_for_loras(model, spec) if self._text_encoders else nullcontext()

    def with_text_encoders(self, model: BaseModel) -> AbstractContextManager[None]:
        """See `TextEncoders.use`."""
        return self._text_encoders.use(model) if self._text_encoders else nullcontext()

    def wait_until_stored(self) -> None:
        """Wait until the embeddings that were computed last can be found by others."""
        if self._storing is not None:
            self._storing.result()

    def _find(self, key: str, model: BaseModel, ask: AskOthers | None) -> Mapping[str, Tensor] | None:
        found, tier = self._memory.get(key), "memory"
        if found is None and self._shared is not None:
            found, tier = self._shared.get(key), "shared"
            if found is None and ask is not None and self._has_asked(ask, key, model):
                found, tier = self._shared.get(key), "asked"
            if found is not None:
                self._memory.put(key, found)
        metrics.EMBEDDING_LOOKUPS.labels("none" if found is None else tier).inc()
        return found

    def _has_asked(self, ask: AskOthers, key: str, model: BaseModel) -> bool:
        """Whether another worker has stored the embeddings, which would take a load here."""
        if self._text_encoders is None or self._shared is None or not self._shared.is_available:
            return False
        load_s = self._text_encoders.expected_load_s(model)
        return load_s > 0 and ask(key, load_s)

    def _store(self, key: str, copies: Mapping[str, HostCopy]) -> None:
        """In a thread of its own: the loop does not wait for copies, checksums, or a server."""
        try:
            texts = {name: copy.wait() for name, copy in copies.items()}
            if all(bool(tensor.isfinite().all()) for tensor in texts.values()):
                self._memory.put(key, texts)
                if self._shared is not None:
                    self._shared.put(key, texts)
        except Exception:  # a lost device: the job finds out by itself
            log.exception("embeddings not stored")
