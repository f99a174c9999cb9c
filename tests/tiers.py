"""What the quick tier leaves out: ``make test-unit`` runs tests that need no server and take no time.

Left out are tests that use the embedded servers, start other processes, or compute with whole models.
"""

from pathlib import Path

TESTS = Path(__file__).parent
#: A test with one of these fixtures, its own or another fixture's, needs running servers.
SERVER_FIXTURES = frozenset({"servers"})
#: Folders and files that need servers throughout, start processes or compute with whole models.
INTEGRATION = frozenset(
    TESTS / path
    for path in (
        "console",
        "fleet",
        "fuzz",
        "infra/bench/parts",
        "infra/bench/workloads",
        "infra/emoji/test_weights.py",
        "infra/local/supervision/test_supervisor.py",
        "infra/local/test_home_lock.py",
        "infra/local/test_servers.py",
        "infra/tiny_models/test_pipelines.py",
        "infra/test_flower.py",
        "parity",
        "shared/storage/test_safetensors_header.py",
        "test_architecture.py",
        "test_entry_points.py",
        "test_packaging.py",
        "workers/families/flux/test_forward.py",
        "workers/families/flux/test_loading.py",
        "workers/families/test_load_base_model.py",
        "workers/families/test_load_controlnet.py",
        "workers/families/unet/test_forward.py",
        "workers/lora/cache/test_processes.py",
        "workers/lora/formats/test_mutated_files.py",
        "workers/lora/formats/test_peft_kinds.py",
        "workers/lora/test_patch.py",
        "workers/lora/test_patch_switches.py",
        "workers/lora/test_scales.py",
        "workers/lora/test_sdxl.py",
        "workers/runtime/celery_worker/test_celery_worker.py",
        "workers/runtime/test_device_loss.py",
        "workers/runtime/test_process.py",
        "workers/runtime/test_watchdog.py",
        "workers/transport/backends/test_shared_memory.py",
        "workers/transport/test_servers.py",
        "workers/unet/cfg_parallel",
        "workers/unet/embeddings/test_encode_for_job.py",
        "workers/unet/timesteps/test_dry_run.py",
        "workers/webhooks/test_kills.py",
    )
)
#: Folders and files of the quick tier whose tests wait for real threads, sockets or time.
REAL_TIME = frozenset(
    TESTS / path
    for path in (
        "api/server/test_client_socket.py",
        "infra/chaos/test_webhooks.py",
        "infra/cli/generation",
        "infra/cli/monitoring",
        "infra/cli/test_client.py",
        "infra/cli/test_keys.py",
        "infra/cli/test_tenants.py",
        "infra/cli/test_webhooks.py",
        "infra/local/test_checks.py",
        "workers/devices/test_visible.py",
        "workers/lora/cache/test_cache.py",
        "workers/lora/test_loader.py",
        "workers/runtime/activity/test_device_activity.py",
        "workers/runtime/test_model_preloader.py",
        "workers/runtime/test_process_exit.py",
        "workers/unet/process/test_device_turns.py",
        "workers/webhooks/test_bounded_calls.py",
        "workers/webhooks/test_post.py",
    )
)


def is_integration(path: Path) -> bool:
    """Whether a test file or folder belongs to `INTEGRATION`."""
    return _is_within(path, INTEGRATION)


def takes_real_time(path: Path) -> bool:
    """Whether a test file belongs to `REAL_TIME`."""
    return _is_within(path, REAL_TIME)


def _is_within(path: Path, places: frozenset[Path]) -> bool:
    return path in places or any(parent in places for parent in path.parents)
