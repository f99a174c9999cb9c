"""Rules of the code that no type checker knows: layers, sizes, imports, who may read what."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from shared.settings import Settings
from tests.api.gunicorn_server import environment
from tests.source_tree import (
    PACKAGES,
    SOURCES,
    constructor_parameters,
    cycles,
    foreign_private_attributes,
    module_imports,
    nodes,
    parse,
)

MODULES_IN_A_FOLDER = 14
LINES_OF_A_FUNCTION = 60
CONSTRUCTOR_PARAMETERS = 7

#: Records that bundle what belongs together, so that others can take one parameter.
RECORDS = {
    "AttemptContext": "everything one attempt needs",
    "ControlNetSource": "how a ControlNet is loaded",
    "FamilyFacts": "what web and workers know of a model family",
    "FleetConfig": "a fleet to simulate",
    "FluxRecipe": "sizes of a Flux that is made for a benchmark",
    "Measurements": "times and sizes that a simulation counts with",
    "Outcome": "what came of a simulation",
    "Process": "a process of the local stack",
    "Services": "what every route of the API is built on",
    "Settings": "what an operator sets",
    "Soak": "the record of a run of hours",
    "Steered": "one row of a table of measurements",
    "Traffic": "jobs to simulate",
    "TransformerFacts": "what web and workers know of a family of transformers",
    "UNetWorker": "what lives as long as a UNet worker's process",
    "Verdict": "what a chaos run has found",
}
#: Private attributes of libraries that are read for want of a public one.
LIBRARY_PRIVATES = {
    "_C": "torch: what only its C++ part can do",
    "_cuda_endAllocateToPool": "torch: ends the allocations of a capture that has failed",
    "_build_unified_sequence": "diffusers: Z-Image's tokens of image and caption as one sequence",
    "_delivered": "kombu: the messages that a channel has not acknowledged",
    "_foreach_copy_": "torch: many copies in one call",
    "_foreach_mul_": "torch: many products in one call",
    "_foreach_norm": "torch: many largest numbers in one call",
    "_foreach_sub_": "torch: many differences in one call",
    "_from_config": "transformers: a model of a config, with its type of numbers",
    "_get_add_time_ids": "diffusers: SDXL's time ids",
    "_get_dtype_plan": "transformers: weights that keep another type than the model's",
    "_limit_move_to_pool": "Celery: a consumer's answer to a full pool",
    "_modules": "torch: a module's children, None among them",
    "_optional_components": "diffusers: what a pipeline works without",
    "_pad_with_ids": "diffusers: Z-Image's tokens, filled up to a multiple",
    "_prepare_sequence": "diffusers: Z-Image's tokens of one kind as a batch",
    "_sock": "redis-py: the socket of a connection that it has opened",
    "_version": "torch: counts writes to a tensor",
}
#: Public, in spite of the underscore: documented methods of the standard library.
DOCUMENTED = {"_asdict", "_exit", "_fields", "_replace"}
#: Imports modules one after the other; prints each, and what it should not have loaded.
LOADED = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    print(module, *sorted({"torch", "numpy", "diffusers"} & set(sys.modules)))
"""
#: Modules of ``shared`` that only one side uses.
ONE_SIDED = {
    "shared.image_files.xmp": "workers write it, and the command line, which is neither side, reads it",
    "shared.catalog.step_bytes": "how large a step's residuals are; workers size their memory by it",
    "shared.jobs.events": "read by the web only; the job script, which writes events, is beside it",
    "shared.registry.controlnet_servers": "beside the rest of the registry; the web reads heartbeats",
    "shared.tenants.key_store": "keys are checked by the web, and by Flower, which is neither side",
    "shared.tenants.scopes": "what a key is for is stored with it; only the web asks",
    "shared.tenants.sessions": "as keys, which sessions stand for",
    "shared.tenants.store": "workers do not read tenants yet",
}


def test_layers_and_independent_packages_hold() -> None:
    # In a process of its own: it disables the loggers of the one it runs in.
    program = Path(sys.executable).with_name("lint-imports")
    assert subprocess.run([program, "--no-cache"], check=False).returncode == 0


def test_no_modules_import_each_other_in_a_cycle() -> None:
    assert cycles(module_imports(SOURCES)) == []


def test_web_and_workers_both_use_every_module_of_shared() -> None:
    imports = module_imports(SOURCES)

    def reached_from(package: str) -> set[str]:
        reached: set[str] = set()
        waiting = [module for module in imports if module.split(".")[0] == package]
        while waiting:
            new = imports[waiting.pop()] - reached
            reached |= new
            waiting += new
        return reached

    shared = {module for module in imports if module.startswith("shared.")}
    modules = {module for module in shared if not module.endswith("__init__")}
    assert modules - (reached_from("api") & reached_from("workers")) == set(ONE_SIDED)


def test_init_files_are_empty() -> None:
    assert [path for path in SOURCES if path.name == "__init__.py" and path.read_text()] == []


def test_a_folder_holds_at_most_fourteen_modules() -> None:
    sizes = Counter(str(path.parent) for path in SOURCES if path.name != "__init__.py")
    large = {folder: size for folder, size in sizes.items() if size > MODULES_IN_A_FOLDER}
    assert large == {}


def test_no_function_is_longer_than_a_screen() -> None:
    functions = [
        (str(path), node.name, (node.end_lineno or 0) - node.lineno + 1)
        for path, node in nodes(SOURCES)
        if isinstance(node, ast.FunctionDef)
    ]
    assert [function for function in functions if function[2] > LINES_OF_A_FUNCTION] == []


def test_a_constructor_takes_at_most_seven_parameters() -> None:
    large = [
        f"{path}: {name} takes {count}"
        for path in SOURCES
        for name, count in constructor_parameters(parse(path))
        if count > CONSTRUCTOR_PARAMETERS and name not in RECORDS
    ]
    assert large == []


def test_nobody_reads_private_attributes_of_another_modules_objects() -> None:
    allowed = LIBRARY_PRIVATES.keys() | DOCUMENTED
    reads = [
        f"{path}:{line}: {name}"
        for path in SOURCES
        for line, name in foreign_private_attributes(parse(path))
        if name not in allowed
    ]
    imports = [
        f"{path}:{node.lineno}: {alias.name}"
        for path, node in nodes(SOURCES)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert reads + imports == []


def test_no_file_hides_the_celery_library() -> None:
    assert [path for path in SOURCES if path.name == "celery.py"] == []


def test_only_the_settings_read_the_environment() -> None:
    readers = [
        str(path)
        for path, node in nodes(SOURCES)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("os.environ", "os.getenv")  # a WSGI request has an environ, too
    ]
    # The local stack hands its own environment on to the processes it starts. CUDA and torch's compiler read
    # variables of their own.
    handed_on = {
        "infra/local/environment.py",
        "workers/devices/visible.py",
        "workers/engines/compiled.py",
    }
    assert set(readers) <= {"shared/settings.py", *handed_on}


def test_no_key_space_is_scanned() -> None:
    # A scan takes as long as there are keys, whoever's they are. The sweep reads one bounded part at a time.
    scans = {"scan", "scan_iter", "randomkey"}
    guilty = [
        f"{path}: {node.attr}"
        for path, node in nodes(SOURCES)
        if path.parts[0] != "infra" and isinstance(node, ast.Attribute) and node.attr in scans
    ]
    scripts = [path for package in PACKAGES for path in Path(package).rglob("*.lua")]
    guilty += [str(path) for path in scripts if re.search(r"call\('(SCAN|KEYS)'", path.read_text(), re.I)]
    assert guilty == ["workers/unet/maintenance/sweep_cursors.py: scan"]


def test_nothing_is_pickled() -> None:
    names = ("pickle", "dill", "cloudpickle", "shelve", "marshal")
    guilty = [
        path
        for path, node in nodes(SOURCES)
        if isinstance(node, ast.Import) and any(alias.name in names for alias in node.names)
    ]
    assert guilty == []


def test_only_families_know_what_a_model_is_made_of() -> None:
    # Everything else asks `BaseModel` and `FamilyFacts`, so that a new family is new files.
    families = ("shared/families/", "workers/families/")
    others = [path for path in SOURCES if path.parts[0] != "infra" and not str(path).startswith(families)]
    names = {"pipe", "is_sdxl", "unet"}  # `model.pipe.unet`
    reads = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, node in nodes(others)
        if isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node) != "scale.unet"
    ]
    kinds = ("UNet", "ControlNet", "MultiControlNet", "Autoencoder", "StableDiffusion", "DiffusionPipeline")
    classes = [
        f"{path}:{node.lineno}: {alias.name}"
        for path, node in nodes(others)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffusers")
        for alias in node.names
        if alias.name.startswith(kinds)
    ]
    assert reads + classes == []


def test_families_import_no_role_of_a_worker() -> None:
    roles = ("workers.unet", "workers.controlnet", "workers.controlnet_serving")
    imports = module_imports(SOURCES)
    guilty = [
        f"{module}: {imported}"
        for module in imports
        if module.startswith("workers.families.")
        for imported in imports[module]
        if imported.startswith(tuple(f"{role}." for role in roles))
    ]
    assert guilty == []


def test_api_shared_and_the_local_stack_do_not_load_torch(servers: Settings) -> None:
    modules = ["shared.jobs.store", "shared.storage.object_store", "shared.messaging.celery_app"]
    modules += ["infra.local.up", "api.wsgi"]
    printed = subprocess.run(
        [sys.executable, "-c", LOADED, *modules],
        env=environment(servers),  # which `api.wsgi` asks when it is imported
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.splitlines() == modules
