"""Writes weights in a device's own memory: few large calls, none of which waits for the device."""

import threading
import weakref
from collections.abc import Collection, Mapping, Set
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workers.devices.base import Device, Event
from workers.lora.arena import Arena
from workers.lora.formats.matrices import ScratchBuffers
from workers.lora.lora_weights import LoraWeights
from workers.lora.overflow import HARMLESS, OverflowCheck, check_finite
from workers.lora.weight_delta import ParameterKey, write
from workers.lora.writers.base import PatchedWith, PatchTerms
from workers.lora.writers.device_lora import DeviceLora, move_lora
from workers.lora.writers.low_rank import (
    PRODUCT_DTYPES,
    LowRankProduct,
    LowRankTerm,
    add_product,
    as_product,
    combine,
)
from workers.lora.writers.pristine import PristinePlace, PristineWeights


class _Write(NamedTuple):
    """How a weight is written that nothing but plain LoRAs is added to."""

    contents: PatchedWith
    product: LowRankProduct
    is_harmless: bool  # cannot leave a NaN or an infinity


class _Plan(NamedTuple):
    """How weights are written, and the memory of products that were made for it."""

    writes: Mapping[ParameterKey, _Write]
    arena: Arena | None
    made: Event


class DeviceWriter:
    """See `WeightWriter`. Weights keep their addresses, as CUDA graphs need them to.

    Threads that load LoRAs submit to the side stream ``weights``, the job's thread to its own: an event of
    each LoRA orders them.
    """

    def __init__(self, device: Device, parameters: Mapping[ParameterKey, nn.Parameter]) -> None:
        self._pristine = PristineWeights(device, parameters)
        self._device, self._parameters = device, parameters
        self._loaded = device.record()  # the model's weights are there
        self._submitting = threading.Lock()  # the job's thread takes it only for LoRAs that are not prepared
        self._loras: dict[int, DeviceLora] = {}  # by id of a `LoraWeights`, while that lives
        self._ahead: _Plan | None = None
        self._taking = threading.Lock()
        self._scratch = ScratchBuffers()

    @property
    def pristine_bytes(self) -> int:
        """See `WeightWriter`."""
        return self._pristine.nbytes

    @property
    def device_bytes(self) -> int:
        """See `WeightWriter`."""
        arenas = [lora.arena for lora in list(self._loras.values())]
        if (plan := self._ahead) is not None and plan.arena is not None:
            arenas.append(plan.arena)
        return self._pristine.device_bytes + sum(arena.nbytes for arena in arenas) + self._scratch.nbytes

    def keep_pristine(self, place: PristinePlace) -> None:
        """See `WeightWriter`."""
        self._pristine.place = place

    def prepare(self, lora: LoraWeights) -> None:
        """See `WeightWriter`: copies the weights, and moves the LoRA to the device."""
        with self._submitting:
            moved = self._loras.get(id(lora))
            if moved is None:
                with self._device.on_stream("weights"):
                    self._device.follow(self._loaded)
                    self._pristine.add(key for key, _ in lora.items())
                    moved = move_lora(lora, self._device)
                self._loras[id(lora)] = moved
                weakref.finalize(lora, self._loras.pop, id(lora), None).atexit = False
        moved.wait()

    def prepare_patch(self, terms: PatchTerms) -> None:
        """See `WeightWriter`: makes the products of weights that several LoRAs are added to."""
        with self._device.on_stream("weights"):
            plan = self._plan(terms)
        with self._taking:
            self._ahead = plan

    def restore(self, keys: Collection[ParameterKey]) -> None:
        """See `WeightWriter`."""
        self._pristine.restore(keys)

    def write(self, terms: PatchTerms, modified: Set[ParameterKey]) -> OverflowCheck:
        """See `WeightWriter`: makes the weights the base's own, and adds to them where they are."""
        for lora in {id(lora): lora for added in terms.values() for lora, _ in added.loras}.values():
            self._moved(lora).follow(self._device)
        writes = self._writes(terms)
        self.restore([key for key in terms if key in modified])
        doubtful = []
        for key, added in terms.items():
            weight, planned = self._parameters[key].detach(), writes.get(key)
            if planned is not None:
                add_product(weight, planned.product)
            else:
                deltas = [(self._moved(lora).weights.delta(key), scale) for lora, scale in added.loras]
                write(weight, weight, deltas, self._scratch)
            if planned is None or not planned.is_harmless:
                doubtful.append(key)
        return check_finite(self._device, {key: self._parameters[key].detach() for key in doubtful})

    def release_cached(self) -> None:
        """Let go of LoRAs on the device and of buffers; a LoRA in use is moved again by the next `write`."""
        with self._taking:
            self._ahead = None
        self._loras.clear()
        self._scratch.release()

    def _writes(self, terms: PatchTerms) -> Mapping[ParameterKey, _Write]:
        """How each weight is written: as planned ahead, or now; without those that take other formats."""
        ahead = self._take_ahead()
        writes = {
            key: ahead[key]
            for key, added in terms.items()
            if key in ahead and ahead[key].contents == added.contents
        }
        missing = {key: added for key, added in terms.items() if key not in writes}
        return {**writes, **self._plan(missing).writes} if missing else writes

    def _take_ahead(self) -> Mapping[ParameterKey, _Write]:
        """What was planned ahead, in order for the current stream; it is used once."""
        with self._taking:
            plan, self._ahead = self._ahead, None
        if plan is None:
            return {}
        self._device.follow(plan.made)
        for piece in plan.arena.pieces if plan.arena else ():
            self._device.record_stream(piece)
        return plan.writes

    def _plan(self, terms: PatchTerms) -> _Plan:
        """Launches only, on the current stream."""
        low_rank = self._low_rank(terms)
        dtypes = {key: self._parameters[key].dtype for key in low_rank}
        stored = {key: as_product(added, dtypes[key]) for key, added in low_rank.items()}
        several = {key: added for key, added in low_rank.items() if stored[key] is None}
        combined = combine(several, dtypes) if several else None
        products = {key: product for key, product in stored.items() if product is not None}
        if combined is not None:
            products |= combined.products
        writes = {
            key: _Write(terms[key].contents, products[key], sum(term.bound for term in added) < HARMLESS)
            for key, added in low_rank.items()
        }
        return _Plan(writes, None if combined is None else combined.arena, self._device.record())

    def _low_rank(self, terms: PatchTerms) -> dict[ParameterKey, list[LowRankTerm]]:
        """The weights to which nothing but plain products is added."""
        found = {}
        for key, added in terms.items():
            if self._takes_products(self._parameters[key]):
                low_rank = [self._moved(lora).low_rank(key, scale) for lora, scale in added.loras]
                if all(low_rank):
                    found[key] = [term for term in low_rank if term is not None]
        return found

    def _takes_products(self, weight: Tensor) -> bool:
        is_rounded_once = weight.dtype == torch.float32 or self._device.sums_in_float32
        return is_rounded_once and weight.dtype in PRODUCT_DTYPES and weight.is_contiguous()

    def _moved(self, lora: LoraWeights) -> DeviceLora:
        moved = self._loras.get(id(lora))
        if moved is None:
            self.prepare(lora)
            moved = self._loras[id(lora)]
        return moved
