"""Writes weights in a device's own memory: few large calls, none of which waits for the device."""

import threading
import weakref
from collections.abc import Collection, Mapping, Sequence, Set
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workers.devices.base import Device, Event
from workers.lora.formats.matrices import ScratchBuffers
from workers.lora.lora_weights import LoraWeights
from workers.lora.overflow import HARMLESS, OverflowCheck, check_finite
from workers.lora.weight_delta import ParameterKey, write
from workers.lora.writers.base import PatchTerms
from workers.lora.writers.device_lora import DeviceLora, move_lora
from workers.lora.writers.low_rank import (
    PRODUCT_DTYPES,
    CombinedTerms,
    LowRankProduct,
    LowRankTerm,
    add_product,
    as_product,
    combine,
)
from workers.lora.writers.pristine import PristinePlace, PristineWeights

#: LoRAs that are added to a weight: sha256 and scale of each, in order.
_Added = tuple[tuple[str, float], ...]


class _Ahead(NamedTuple):
    """Products that `DeviceWriter.prepare_patch` has made, of these LoRAs each."""

    added: Mapping[ParameterKey, _Added]
    combined: CombinedTerms
    arrived: Event


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
        self._ahead: _Ahead | None = None
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
        if (ahead := self._ahead) is not None:
            arenas.append(ahead.combined.arena)
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
        low_rank = self._low_rank(terms)
        split = {key: added for key, added in low_rank.items() if as_product(added, self._dtype(key)) is None}
        if not split:
            return
        with self._submitting, self._device.on_stream("weights"):
            combined = combine(split, {key: self._dtype(key) for key in split})
            ahead = _Ahead({key: _name(terms[key]) for key in split}, combined, self._device.record())
        with self._taking:
            self._ahead = ahead

    def restore(self, keys: Collection[ParameterKey]) -> None:
        """See `WeightWriter`."""
        self._pristine.restore(keys)

    def write(self, terms: PatchTerms, modified: Set[ParameterKey]) -> OverflowCheck:
        """See `WeightWriter`: makes the weights the base's own, and adds to them where they are."""
        for lora in {id(lora): lora for added in terms.values() for lora, _ in added}.values():
            self._moved(lora).follow(self._device)
        low_rank = self._low_rank(terms)
        products = self._products(terms, low_rank)
        self.restore([key for key in terms if key in modified])
        for key, added in terms.items():
            weight = self._weight(key)
            if key in products:
                add_product(weight, products[key])
            else:
                deltas = [(self._moved(lora).weights.delta(key), scale) for lora, scale in added]
                write(weight, weight, deltas, self._scratch)
        harmless = {key for key, added in low_rank.items() if sum(term.bound for term in added) < HARMLESS}
        return check_finite(self._device, {key: self._weight(key) for key in terms if key not in harmless})

    def release_cached(self) -> None:
        """Let go of LoRAs on the device and of buffers; a LoRA in use is moved again by the next `write`."""
        with self._taking:
            self._ahead = None
        self._loras.clear()
        self._scratch.release()

    def _moved(self, lora: LoraWeights) -> DeviceLora:
        moved = self._loras.get(id(lora))
        if moved is None:
            self.prepare(lora)
            moved = self._loras[id(lora)]
        return moved

    def _low_rank(self, terms: PatchTerms) -> dict[ParameterKey, list[LowRankTerm]]:
        """The weights to which nothing but plain products is added."""
        found = {}
        for key, added in terms.items():
            if self._takes_products(key):
                low_rank = [self._moved(lora).low_rank(key, scale) for lora, scale in added]
                if all(low_rank):
                    found[key] = [term for term in low_rank if term is not None]
        return found

    def _takes_products(self, key: ParameterKey) -> bool:
        weight = self._parameters[key]
        is_summed_exactly = weight.dtype == torch.float32 or self._device.sums_in_float32
        return weight.is_contiguous() and is_summed_exactly and weight.dtype in PRODUCT_DTYPES

    def _products(
        self, terms: PatchTerms, low_rank: Mapping[ParameterKey, Sequence[LowRankTerm]]
    ) -> dict[ParameterKey, LowRankProduct]:
        """What is added to each weight: as stored, as made ahead, or made now."""
        ahead = self._take_ahead()
        products, missing = {}, {}
        for key, added in low_rank.items():
            product = as_product(added, self._dtype(key))
            if product is None and ahead is not None and ahead.added.get(key) == _name(terms[key]):
                product = ahead.combined.products[key]
            if product is not None:
                products[key] = product
            else:
                missing[key] = added
        if missing:
            products |= combine(missing, {key: self._dtype(key) for key in missing}).products
        return products

    def _take_ahead(self) -> _Ahead | None:
        """What was made ahead, in order for the current stream; it is used once."""
        with self._taking:
            ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._device.follow(ahead.arrived)
            for piece in ahead.combined.arena.pieces:
                self._device.record_stream(piece)
        return ahead

    def _weight(self, key: ParameterKey) -> Tensor:
        return self._parameters[key].detach()

    def _dtype(self, key: ParameterKey) -> torch.dtype:
        return self._parameters[key].dtype


def _name(added: Sequence[tuple[LoraWeights, float]]) -> _Added:
    return tuple((lora.sha256, scale) for lora, scale in added)
