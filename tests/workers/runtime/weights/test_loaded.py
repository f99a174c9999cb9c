"""Hashes of weights: what several of them have in common is read and hashed once."""

import hashlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from workers.runtime.weights import loaded
from workers.runtime.weights.loaded import weights_sha256, weights_sha256s

NUMBERS = 6  # of each module, in float32


class Read(nn.Linear):
    """Counts how often its weights are read."""

    def __init__(self) -> None:
        super().__init__(3, 2, bias=False)
        self.reads = 0

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.reads += 1
        return super().state_dict(*args, **kwargs)


class CountedDigest:
    """Counts the bytes of weights that all digests are given."""

    bytes = 0

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def update(self, data: Any) -> None:
        CountedDigest.bytes += len(data) if isinstance(data, memoryview) else 0
        self._digest.update(data)

    def copy(self) -> "CountedDigest":
        return CountedDigest(self._digest.copy())

    def hexdigest(self) -> str:
        return str(self._digest.hexdigest())


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> type[CountedDigest]:
    CountedDigest.bytes = 0
    counted = SimpleNamespace(sha256=lambda: CountedDigest(hashlib.sha256()))
    monkeypatch.setattr(loaded, "hashlib", counted)
    return CountedDigest


def expected(modules: Mapping[str, nn.Module]) -> str:
    """As receipts have it since the first version."""
    digest = hashlib.sha256()
    for part, module in sorted(modules.items()):
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def test_a_hash_is_that_of_names_types_shapes_and_numbers() -> None:
    modules = {"unet": nn.Linear(3, 2), "text_encoder": nn.Linear(2, 3).half()}
    assert weights_sha256(modules) == expected(modules)
    assert weights_sha256({}) == hashlib.sha256().hexdigest()


def test_of_one_text_encoder_model_and_encoder_are_hashed_once(hashed: type[CountedDigest]) -> None:
    parts = {"unet": Read(), "text_encoder": Read()}
    texts = {"text_encoder": parts["text_encoder"]}
    groups = [parts, texts, dict(texts)]
    found = weights_sha256s(groups)
    assert [module.reads for module in parts.values()] == [1, 1]
    assert hashed.bytes == 2 * NUMBERS * 4
    assert found == [expected(group) for group in groups]


def test_of_several_text_encoders_each_is_read_once(hashed: type[CountedDigest]) -> None:
    parts = {"transformer": Read(), "text_encoder": Read(), "text_encoder_2": Read()}
    texts = {part: module for part, module in parts.items() if part.startswith("text")}
    alone = [{"text_encoder": module} for module in texts.values()]
    groups: list[dict[str, Read]] = [parts, texts, *alone]
    found = weights_sha256s(groups)
    assert [module.reads for module in parts.values()] == [1, 1, 1]
    assert hashed.bytes == 4 * NUMBERS * 4  # the second encoder alone has a hash of its own
    assert found == [expected(group) for group in groups]


def test_groups_without_a_common_order_have_their_own_hashes() -> None:
    first, other = Read(), Read()
    torch.nn.init.ones_(other.weight)
    groups = [{"a": first, "b": other}, {"a": other, "b": first}, {"a": first, "b": first}, {"c": other}, {}]
    assert weights_sha256s(groups) == [expected(group) for group in groups]
