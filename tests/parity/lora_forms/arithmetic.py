"""What a LoRA file adds to weights, computed here, where diffusers cannot load it."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tests.original_names import PREFIX

#: Weights by their authors' names with `PREFIX`, of those by diffusers' names; see `tests.original_names`.
OriginalNames = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def original_shapes(model: nn.Module, names: OriginalNames, *words: str) -> dict[str, tuple[int, int]]:
    """Rows and columns of the linear layers whose names by the model's authors have one of ``words``."""
    originals = {
        name.removeprefix(PREFIX).removesuffix(".weight"): weight
        for name, weight in names(_matrices(model)).items()
    }
    return {
        name: (len(weight), weight.shape[1])
        for name, weight in originals.items()
        if any(word in name for word in words)
    }


def added_to_originals(
    model: nn.Module, names: OriginalNames, products: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What ``products``, by the names of the model's authors, add to its weights by diffusers' names.

    The rows of all weights are numbered, and the numbers fused as the weights would be: they say which row
    of which weight each row of a product belongs to.
    """
    numbers: dict[str, Tensor] = {}
    count = 0
    for name, weight in _matrices(model).items():
        numbers[name] = torch.arange(count, count + len(weight))[:, None]
        count += len(weight)
    fused = names(numbers)
    added = {}
    for name, weight in _matrices(model).items():
        change = torch.zeros(weight.shape)
        for original, product in products.items():
            rows = fused[f"{PREFIX}{original}.weight"][:, 0] - numbers[name][0, 0]
            is_here = (rows >= 0) & (rows < len(weight))
            if is_here.any():
                change[rows[is_here]] = product[is_here]
        if change.any():
            added[name] = change
    return added


def product_of(tensors: Mapping[str, Tensor], stem: str) -> Tensor:
    """What a file adds to the module that ``stem`` begins the keys of."""
    start = f"{stem}."
    found = {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}
    if "lokr_w1" in found:
        return torch.kron(found["lokr_w1"], found["lokr_w2"])
    if "hada_w1_a" in found:
        first, second = (found[f"hada_w{i}_a"] @ found[f"hada_w{i}_b"] for i in (1, 2))
        return float(found["alpha"]) / len(found["hada_w1_b"]) * first * second
    words = ("lora_A", "lora_B") if "lora_A.weight" in found else ("lora_down", "lora_up")
    down, up = (found[f"{word}.weight"] for word in words)
    scaling = float(found["alpha"]) / len(down) if "alpha" in found else 1.0
    return scaling * (up @ down)


def _matrices(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: weight.detach()
        for name, weight in model.named_parameters()
        if name.endswith(".weight") and weight.dim() == 2
    }
