"""Downloads the files of hub ids before their load: only then is it known what memory they will take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from huggingface_hub import snapshot_download

from shared.errors import ModelFailed
from workers.runtime.weights.source import INDEX, indexed_files, is_on_hub, split_revision

#: What weights of one part are called.
_STEM = "diffusion_pytorch_model"


@contextmanager
def naming_failures(what: str) -> Iterator[None]:
    """Have `ModelFailed` say that ``what`` could not be downloaded, whatever the hub's client raises."""
    try:
        yield
    except Exception as error:
        raise ModelFailed(f"{what} cannot be downloaded: {str(error) or repr(error)}") from error


def download_controlnet(
    source: str, variant: str | None, download: Callable[..., str] = snapshot_download
) -> None:
    """Bring the config and the weights here that diffusers loads a ControlNet of a hub id from."""
    if not is_on_hub(source):
        return
    hub_id, revision = split_revision(source)
    dotted = f".{variant}" if variant else ""
    weights = [f"{_STEM}{dotted}.safetensors", f"{_STEM}{dotted}-*-of-*.safetensors"]
    weights += [f"{_STEM}-*-of-*{dotted}.safetensors"] if variant else []  # as older libraries named them
    download(
        hub_id,
        revision=revision.get("revision"),
        allow_patterns=["config.json", f"{_STEM}.safetensors.index{dotted}.json", *weights],
    )


def download_layers(
    source: str, part: str, begins: tuple[str, ...], download: Callable[..., str] = snapshot_download
) -> Path:
    """The folder of a base model, with those files of its ``part`` that have weights whose names begin so.

    And with that part's config, by which `local_path` finds what is in the hub's cache.
    """
    if not is_on_hub(source):
        return Path(source)
    hub_id, revision = split_revision(source)
    fetch = partial(download, hub_id, revision=revision.get("revision"))
    folder = Path(fetch(allow_patterns=f"{part}/{INDEX}"))
    index = folder / part / INDEX
    files = indexed_files(index, begins) if index.is_file() else ["*.safetensors"]
    fetch(allow_patterns=[f"{part}/{file}" for file in ("config.json", *files)])
    return folder
