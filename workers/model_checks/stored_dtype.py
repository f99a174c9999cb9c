"""Whether a model takes more memory than its files, because its catalog entry does not say a dtype."""

from collections import Counter
from pathlib import Path

from shared.catalog.entries import HUB, ModelEntry, locate
from shared.families.registry import denoisers
from workers.model_checks.weight_files import Unloadable, read_header, weight_files

#: Types of safetensors that are widened by the default.
_NAMES = {"BF16": "bfloat16", "F16": "float16"}


def widened_from(entry: ModelEntry, catalog: Path) -> str | None:
    """The type of 16 bits in which a denoiser is stored that the default dtype loads in 32.

    None: the entry says a dtype, or the files are of another type, or nothing is known of them.
    """
    if "dtype" in entry.model_fields_set or entry.source.startswith(HUB):
        return None
    try:
        stored = _stored_dtype(locate(catalog, entry.source), entry.variant)
    except (Unloadable, OSError):
        return None  # who loads it says what is wrong
    return _NAMES.get(stored or "")


def _stored_dtype(path: Path, variant: str | None) -> str | None:
    """The type of most of the denoiser's numbers; of a single file, of all."""
    if path.is_file():
        folder, files = path.parent, [path]
    else:
        folder = path
        part = next((part for part in denoisers() if (path / part).is_dir()), None)
        files = [] if part is None else weight_files(path / part, "diffusion_pytorch_model", variant)
    sizes: Counter[str] = Counter()
    for file in files:
        for tensor in read_header(folder, file).tensors.values():
            sizes[tensor.dtype] += tensor.size_bytes
    return sizes.most_common(1)[0][0] if sizes else None
