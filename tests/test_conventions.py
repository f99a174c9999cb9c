"""Rules of the tests themselves: where they lie, what they are called, how they replace things."""

import ast
from pathlib import Path

from tests.distribution import LONG
from tests.source_tree import SOURCES, TESTS, nodes
from tests.tiers import INTEGRATION, REAL_TIME

TEST_NAME_LENGTH = 86
#: Methods of a logger that take a text first.
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
#: Folders that are laid out by what they need to run, not by module.
FOLDERS_OF_THEIR_OWN = {"console", "fleet", "fuzz", "parity"}
#: Files whose subject is several modules, a process or the repository itself.
SEVERAL_MODULES = {
    "tests/api/compat/openai/test_node_client.py",
    "tests/api/middleware/test_malformed.py",
    "tests/api/submission/checks/test_transformers.py",
    "tests/api/submission/test_replay.py",
    "tests/api/test_full_disk.py",
    "tests/api/test_isolation.py",
    "tests/api/test_old_versions.py",
    "tests/api/test_proxies.py",
    "tests/api/routes/test_catalog_fields.py",
    "tests/infra/bench/test_main.py",
    "tests/infra/cli/test_main.py",
    "tests/infra/docs/test_docs.py",
    "tests/infra/docs/test_family_tables.py",
    "tests/infra/emoji/test_control_images.py",
    "tests/infra/emoji/test_weights.py",
    "tests/infra/setup/test_node_and_chromium.py",
    "tests/infra/tiny_models/test_pipelines.py",
    "tests/shared/catalog/test_family_defaults.py",
    "tests/shared/jobs/test_job_machine.py",
    "tests/shared/jobs/test_records.py",
    "tests/shared/jobs/test_tenants.py",
    "tests/shared/scheduling/test_late_claims.py",
    "tests/shared/scheduling/test_preemption.py",
    "tests/shared/scheduling/test_release_machine.py",
    "tests/shared/jobs/families/test_shifts.py",
    "tests/shared/scheduling/test_wrong_types.py",
    "tests/shared/storage/test_upload.py",
    "tests/shared/test_outages.py",
    "tests/shared/test_redis_tls.py",
    "tests/test_architecture.py",
    "tests/test_conventions.py",
    "tests/test_distribution.py",
    "tests/test_entry_points.py",
    "tests/test_left_threads.py",
    "tests/test_node_scripts.py",
    "tests/test_packaging.py",
    "tests/test_shared_fleets.py",
    "tests/test_wording.py",
    "tests/workers/families/flux/test_local_controlnets.py",
    "tests/workers/families/flux/test_lora_conversion.py",
    "tests/workers/families/flux/test_split.py",
    "tests/workers/families/transformer/test_late_loras.py",
    "tests/workers/families/transformer/test_lycoris_loras.py",
    "tests/workers/families/unet/test_forward_graphs.py",
    "tests/workers/lora/cache/test_disk.py",
    "tests/workers/lora/cache/test_model.py",
    "tests/workers/lora/cache/test_processes.py",
    "tests/workers/lora/cache/test_s3.py",
    "tests/workers/lora/formats/test_mutated_files.py",
    "tests/workers/lora/formats/test_peft_kinds.py",
    "tests/workers/lora/formats/test_trainer_names.py",
    "tests/workers/lora/test_patch_switches.py",
    "tests/workers/lora/test_sdxl.py",
    "tests/workers/families/sd3/test_split.py",
    "tests/workers/families/test_loaded_as_by_diffusers.py",
    "tests/workers/families/test_single_files_as_by_diffusers.py",
    "tests/workers/runtime/celery_worker/test_celery_worker.py",
    "tests/workers/transport/test_servers.py",
    "tests/workers/unet/controlnet/test_backends.py",
    "tests/workers/unet/test_device_faults.py",
    "tests/workers/unet/test_graph_jobs.py",
    "tests/workers/unet/test_job_logs.py",
    "tests/workers/unet/test_lora_loading.py",
    "tests/workers/unet/test_old_versions.py",
    "tests/workers/unet/test_patched_between_jobs.py",
    "tests/workers/unet/timesteps/test_flow_match.py",
    "tests/workers/webhooks/test_kills.py",
}


def test_a_test_lies_where_its_module_lies() -> None:
    files = [path for path in TESTS if path.name.startswith("test_")]
    strays = [
        str(path)
        for path in files
        if path.parts[1] not in FOLDERS_OF_THEIR_OWN
        and not module_of(path).exists()
        and str(path) not in SEVERAL_MODULES
    ]
    assert strays == []


def module_of(path: Path) -> Path:
    """``a/b.py`` for ``tests/a/test_b.py``."""
    return Path(*path.parts[1:-1], path.name.removeprefix("test_"))


def test_names_of_tests_fit_on_a_line() -> None:
    long_names = [
        f"{path}: {node.name}"
        for path, node in nodes(TESTS)
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and len(node.name) > TEST_NAME_LENGTH
    ]
    assert long_names == []


def test_nothing_is_replaced_by_a_path_in_a_string() -> None:
    replaced = [
        f"{path}:{node.lineno}"
        for path, node in nodes(TESTS)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("setattr", "delattr", "patch")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
    assert replaced == []


def test_every_listed_place_of_tests_exists() -> None:
    assert [path for path in INTEGRATION | REAL_TIME if not path.exists()] == []


def test_every_unit_of_tests_that_takes_long_exists() -> None:
    assert [unit for unit in LONG if not Path(unit).exists()] == []


def test_the_text_of_a_log_record_is_constant() -> None:
    """What varies is a field in ``extra``: records of one event are found by their text."""
    guilty = [
        f"{path}:{node.lineno}"
        for path, node in nodes([path for path in SOURCES if path.parts[0] in ("api", "shared", "workers")])
        if isinstance(node, ast.Call) and logs_a_varying_text(node)
    ]
    assert guilty == []


def logs_a_varying_text(call: ast.Call) -> bool:
    """Whether a call of ``log.info`` and its like has anything but one string literal before its keywords."""
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr not in LOG_METHODS:
        return False
    is_logger = ast.unparse(function.value) == "log" or "getLogger" in ast.unparse(function.value)
    return is_logger and not (len(call.args) == 1 and isinstance(call.args[0], ast.Constant))
