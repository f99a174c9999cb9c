"""A fleet that asks for keys."""

import pytest

from tests.fleet.conftest import SHARED, Client, running_client
from tests.tiny_models import EMOJI
from workers.runtime.weights.source import estimate_bytes


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A fleet that asks for keys; its only worker has no memory for text encoders beside their model."""
    model_bytes = estimate_bytes(str(EMOJI / "model"), "float32")
    workers = {"unet_workers": 1, "controlnet_workers": 0, "model_memory_bytes": model_bytes - 1}
    home = tmp_path_factory.mktemp("keyed") / "run"
    return SHARED.get("keyed", lambda: running_client(home, auth="keys", **workers))
