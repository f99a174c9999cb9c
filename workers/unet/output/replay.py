"""A job that replays a receipt: what must be equal, and the warnings where something is not."""

import json
from collections.abc import Mapping
from typing import Any

from shared.errors import ReceiptMismatch
from shared.jobs.options import LoraLoading
from shared.jobs.receipt import ControlNetReceipt, Receipt, WorkerReceipt
from shared.jobs.spec import JobSpec
from workers.families.base import BaseModel
from workers.unet.output.receipt import worker_receipt


class Replay:
    """Compares an attempt with the receipt that it replays; without a receipt it compares nothing."""

    def __init__(self, receipt: Receipt | None) -> None:
        self._receipt = receipt
        self._controlnets = (
            {controlnet.name: controlnet.sha256 for controlnet in receipt.controlnets} if receipt else {}
        )
        self._loras = {lora.name: lora.sha256 for lora in receipt.loras} if receipt else {}

    def check_model(self, model: BaseModel, scheduler_config: Mapping[str, Any]) -> None:
        """Called before anything is generated; raises `ReceiptMismatch`."""
        was = self._receipt
        if was is None:
            return
        _compare(f"the weights of model {was.spec.model!r}", was.model_sha256, model.sha256)
        # Another version of a library writes other configs; it is reported anyway.
        if was.worker.versions == worker_receipt(model).versions:
            what = f"a config or tokenizer of model {was.spec.model!r}"
            _compare(what, was.configs_sha256, model.configs_sha256)
        # A key that only one of them has comes with another version of diffusers, which is reported anyway.
        for name in sorted(was.scheduler_config.keys() & scheduler_config.keys()):
            if not name.startswith("_"):  # versions and paths
                old, new = (_json(config[name]) for config in (was.scheduler_config, scheduler_config))
                _compare(f"{name} of scheduler {was.spec.scheduler!r}", old, new)

    def check_controlnet(self, name: str, sha256: str) -> None:
        """Called before a ControlNet's first residual is used; raises `ReceiptMismatch`."""
        _compare(f"the weights of ControlNet {name!r}", self._controlnets.get(name, ""), sha256)

    def check_lora(self, name: str, sha256: str) -> None:
        """Before a LoRA is patched; raises `ReceiptMismatch`."""
        _compare(f"the bytes of LoRA {name!r}", self._loras.get(name, ""), sha256)

    def needs_eager_bits(self, spec: JobSpec) -> bool:
        """Whether the base model must have the bits of eager kernels: in a replay if the first job had."""
        return spec.is_exact if self._receipt is None else self._receipt.worker.engine != "compile"

    def lora_loading(self, spec: JobSpec) -> LoraLoading:
        """What the receipt says of it: a replay's receipt is the one it replays."""
        return self._receipt.spec.lora_loading if self._receipt else spec.lora_loading

    def cfg_follower(self, used: WorkerReceipt | None, here: WorkerReceipt) -> WorkerReceipt | None:
        """The worker that predicted unconditional branches: ``used``, or in a replay this one, ``here``."""
        if self._receipt is None:
            return used
        return here if self._receipt.cfg_follower else None

    def continued_at(self, steps: list[int]) -> list[int]:
        """The steps at which the job was continued: the receipt of a replay is the one it replays."""
        return self._receipt.continued_at if self._receipt else steps

    def warnings(self, written: Receipt) -> list[str]:
        """Where ``written`` was generated otherwise, which may show in the last bits."""
        was = self._receipt
        if was is None:
            return []
        shared = [controlnet.name for controlnet in was.controlnets if controlnet.batch > 1]
        differences = [
            f"ControlNet {name!r} computed steps of several jobs in one pass for the receipt, and those of"
            " this job alone: the last bits may differ"
            for name in shared
        ]
        for then, now in zip(was.controlnets, written.controlnets, strict=True):
            differences += _controlnet_differences(then, now)
        differences += _differences("generated", was.worker, written.worker)
        if was.encoder != written.encoder:
            differences.append(_encoder_difference(was.encoder, written.encoder))
        if was.cfg_follower and written.cfg_follower:
            differences += _differences(
                "the follower's branches computed", was.cfg_follower, written.cfg_follower
            )
        return differences


#: Of a worker, as `_computed_with` names it: older receipts do not say it.
_LATER_FIELDS = {"processor", "CPU model", "VAE dtype"}

#: For those who help with a job: one that is replayed is never split over two workers.
NO_REPLAY = Replay(None)


def _compare(what: str, was: str, now: str) -> None:
    """An empty hash is of something that was not used."""
    if was and was != now:
        raise ReceiptMismatch(what, was=was, now=now)


def _differences(what: str, was: WorkerReceipt, is_now: WorkerReceipt) -> list[str]:
    then, now = _computed_with(was), _computed_with(is_now)
    for name in _LATER_FIELDS - then.keys():
        now.pop(name, None)
    return [
        f"{what} with {name} {now.get(name, 'unknown')}, the receipt with {then.get(name, 'unknown')}:"
        " the last bits may differ"
        for name in then | now
        if then.get(name) != now.get(name)
    ]


def _controlnet_differences(was: ControlNetReceipt, is_now: ControlNetReceipt) -> list[str]:
    pairs = {
        "engine": (was.engine, is_now.engine),
        "memory format": (was.memory_format, is_now.memory_format),
    }
    differences = [
        f"ControlNet {was.name!r} computed with {name} {now}, the receipt with {then}:"
        " the last bits may differ"
        for name, (then, now) in pairs.items()
        if then and now and then != now  # an older receipt, or no step
    ]
    then, now = ({one.digest for one in receipt.other_platforms} for receipt in (was, is_now))
    if then != now:
        differences.append(
            f"ControlNet {was.name!r} computed on other platforms than for the receipt:"
            " the last bits may differ"
        )
    return differences


def _computed_with(worker: WorkerReceipt) -> dict[str, object]:
    later = {
        "processor": worker.processor,
        "CPU model": worker.cpu_model,
        "VAE dtype": worker.vae_dtype,
    }
    return {
        "device": worker.device,
        "threads": worker.threads,
        "engine": worker.engine,
        "memory format": worker.memory_format,
        **{name: value for name, value in later.items() if value},
        **worker.accelerator,
        **worker.versions,
    }


def _encoder_difference(was: Mapping[str, str], is_now: Mapping[str, str]) -> str:
    then, now = (
        ", ".join(f"{library} {version}" for library, version in encoder.items()) or "unknown libraries"
        for encoder in (was, is_now)
    )
    return f"encoded by {now}, the receipt's files by {then}: the files may differ"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
