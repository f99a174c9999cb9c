"""What a worker is built of, by its settings and its memory."""

import shutil
from pathlib import Path

from celery import Celery

from shared.catalog.catalog import read_catalog
from shared.settings import Settings
from tests.tiny_transformers import make_flux
from tests.workers.unet.specs import spec
from workers.unet.process.build import build_worker
from workers.unet.worker import UNetWorker

MODEL = "emoji-sd"


def build(servers: Settings, **changes: object) -> UNetWorker:
    settings = servers.model_copy(update=changes)
    return build_worker(settings, read_catalog(settings.catalog, settings), [MODEL], [], Celery())


def test_text_encoders_are_loaded_with_their_model_where_both_fit(servers: Settings) -> None:
    worker = build(servers)
    with worker.models.use(MODEL) as model:
        assert model.has_text_encoders
        whole_bytes = model.weight_bytes
    # When the memory is too small for both, or the setting says so
    small, apart = build(servers), build(servers, text_encoders="apart")
    small.models.memory.models.capacity_bytes = int(0.99 * whole_bytes)
    for worker, prompt in ((small, "one"), (apart, "another")):
        with worker.models.use(MODEL) as model:
            assert not model.has_text_encoders
            assert model.weight_bytes + model.apart_bytes == whole_bytes
            # Then a prompt is encoded all the same
            job = spec(prompt=f"{prompt} prompt of this test")
            assert worker.prompts.encode_prompt(model, job, worker.device).tensors
    assert small.models.memory.models.used_bytes() < whole_bytes
    assert apart.models.memory.models.used_bytes() == whole_bytes


def test_idle_models_are_unloaded_for_text_encoders_that_are_only_read_to_be_hashed(
    servers: Settings, tmp_path: Path
) -> None:
    # Given two models, and memory for both, but not for the text encoders of one as well
    make_flux().save_pretrained(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(
        'default_model = "first"\n[models.first]\nsource = "first"\nscheduler = "flow_match_euler"\n'
        '[models.second]\nsource = "second"\nscheduler = "flow_match_euler"\n'
    )
    models = build(servers, catalog=catalog, text_encoders="apart", home=tmp_path / "home").models
    with models.use("first") as first:
        models.memory.models.capacity_bytes = 2 * first.weight_bytes + first.apart_bytes // 2
    # When the second one is loaded, its text encoders have room, too
    with models.use("second"):
        assert models.names() == ["second"]
    # And the first one's, whose hashes are known, need none
    with models.use("first"):
        assert models.names() == ["first", "second"]


def test_a_transformer_in_a_single_file_is_sized_with_its_other_parts(
    servers: Settings, tmp_path: Path
) -> None:
    make_flux().save_pretrained(tmp_path / "flux")
    shutil.copy(
        tmp_path / "flux/transformer/diffusion_pytorch_model.safetensors", tmp_path / "one.safetensors"
    )
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(
        'default_model = "one"\n[models.one]\nsource = "one.safetensors"\nconfig = "flux"\n'
        'scheduler = "flow_match_euler"\n[models.folder]\nsource = "flux"\nscheduler = "flow_match_euler"\n'
    )
    worker = build(servers, catalog=catalog)
    with worker.models.use("one") as one, worker.models.use("folder") as folder:
        whole_bytes, sha256 = one.weight_bytes, one.sha256
        assert (folder.weight_bytes, folder.sha256) == (whole_bytes, sha256)
    # When the memory is too small for all of it, then it is known without a load
    small = build(servers, catalog=catalog)
    small.models.memory.models.capacity_bytes = int(0.98 * whole_bytes)
    with small.models.use("one") as one:
        assert not one.has_text_encoders
        job = spec(negative_prompt=None, scheduler="flow_match_euler")
        assert small.prompts.encode_prompt(one, job, small.device).tensors
