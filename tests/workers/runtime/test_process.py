import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from infra.local.servers import running_process
from shared.catalog.entries import Catalog
from shared.errors import InvalidSetting
from shared.settings import ROOT, Settings
from tests.tiny_models import EMOJI
from workers.runtime.process import check_device, select_controlnets, select_served

MISSING = "/dev/null/nothing"


def test_a_worker_that_cannot_load_its_weights_ends_before_it_takes_a_job(
    servers: Settings, tmp_path: Path
) -> None:
    # Given a catalog whose folders have their configs, and no weights
    for folder in ("model", "controlnets/edge"):
        shutil.copytree(EMOJI / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.safetensors"))
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(
        'default_model = "m"\n[models.m]\nsource = "model"\n'
        '[controlnets.n]\nsource = "controlnets/edge"\nmodel = "m"\n'
    )
    environment = {
        **os.environ,
        "SWIFT_CATALOG": str(catalog),
        "SWIFT_HOME": str(tmp_path),
        "SWIFT_REDIS_URL": servers.redis_url,
        "SWIFT_RESIDUAL_REDIS_URL": servers.residual_redis_url[0],
    }
    # When a worker of each kind starts, then it ends and says why
    with ExitStack() as running:
        started = {}
        for kind in ("unet", "controlnet"):
            log = tmp_path / f"{kind}.log"
            command = [sys.executable, "-m", "celery", "-A", f"workers.{kind}.app", "worker"]
            worker = running_process([*command, "-n", f"{kind}@test"], cwd=ROOT, env=environment, log=log)
            started[log] = running.enter_context(worker)
        for log, process in started.items():
            assert process.wait(timeout=120) == 1, log.read_text()
            assert "this worker cannot start: ModelFailed" in log.read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_torch_does_not_see_is_named_as_the_operator_wrote_it() -> None:
    check_device(Settings(device="cpu"))
    with pytest.raises(InvalidSetting, match=r"SWIFT_DEVICE=cuda:3: torch .* sees no such CUDA device here"):
        check_device(Settings(device="cuda:0", device_name="cuda:3"))


def test_a_worker_serves_the_whole_catalog_unless_it_is_told_a_part() -> None:
    assert select_served("SWIFT_WORKER_CONTROLNETS", (), ["a", "b"]) == ["a", "b"]
    assert select_served("SWIFT_WORKER_CONTROLNETS", ("b",), ["a", "b"]) == ["b"]


def test_a_worker_is_not_told_to_serve_what_nobody_knows() -> None:
    with pytest.raises(InvalidSetting, match="SWIFT_WORKER_CONTROLNETS: c not in the catalog; it has a, b"):
        select_served("SWIFT_WORKER_CONTROLNETS", ("c",), ["a", "b"])
    with pytest.raises(InvalidSetting, match="names nothing"):
        select_served("SWIFT_WORKER_CONTROLNETS", (), [])


CATALOG = Catalog.model_validate(
    {
        "default_model": "sd",
        "models": {"sd": {"source": "sd"}, "xl": {"source": "xl"}},
        "controlnets": {
            "edge": {"source": "edge", "model": "sd"},
            "depth": {"source": "depth", "model": ["sd", "xl"]},
            "pose": {"source": "pose", "model": "xl"},
        },
    }
)


@pytest.mark.parametrize(
    ("wanted", "models", "selected"),
    [
        ((), ["sd"], ["edge", "depth"]),
        ((), ["sd", "xl"], ["edge", "depth", "pose"]),
        (("depth", "pose"), ["sd"], ["depth"]),
        (("none",), ["sd", "xl"], []),
    ],
)
def test_a_unet_worker_may_load_the_controlnets_that_fit_its_models(
    wanted: tuple[str, ...], models: list[str], selected: list[str]
) -> None:
    assert select_controlnets(wanted, CATALOG, models) == selected


def test_a_unet_worker_of_a_catalog_without_controlnets_loads_none() -> None:
    catalog = CATALOG.model_copy(update={"controlnets": {}})
    assert select_controlnets((), catalog, ["sd"]) == []


def test_none_stands_alone_and_is_not_for_controlnet_workers() -> None:
    with pytest.raises(InvalidSetting, match="SWIFT_WORKER_CONTROLNETS: none stands alone"):
        select_controlnets(("edge", "none"), CATALOG, ["sd"])
    with pytest.raises(InvalidSetting, match="none: this worker would serve nothing"):
        select_served("SWIFT_WORKER_CONTROLNETS", ("none",), ["edge"])
