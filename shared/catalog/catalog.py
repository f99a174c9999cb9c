"""Reads and checks the catalog: the TOML file of the base models and ControlNets that the fleet serves."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from shared.catalog.entries import NO_CONTROLNETS, SINGLE_FILE, Catalog, ModelEntry, locate
from shared.catalog.entry_checks import check_models
from shared.catalog.error_messages import CatalogErrors, file_error, source_error
from shared.catalog.model_families import ModelFamilies
from shared.settings import Settings
from shared.validation_messages import did_you_mean, quoted

#: Larger than any catalog: a device or weights file named by mistake is not read to its end.
_MAX_BYTES = 1 << 20


def read_catalog(path: Path, settings: Settings | None = None) -> Catalog:
    """Read a catalog and check it, with ``settings`` also against the limits that they set.

    Raises `InvalidSetting` with one sentence that names file, line and key.
    """
    text = _read(path)
    errors = CatalogErrors(path, text)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        last = text.rstrip().count("\n") + 1
        raise file_error(path, str(error).replace("at end of document", f"at the end, line {last}")) from None
    except ValueError:  # of `int`: Python reads at most 4300 digits
        raise file_error(path, "a number in it has thousands of digits") from None
    except RecursionError:
        raise file_error(path, "its tables or lists are nested too deeply") from None
    try:
        catalog = Catalog.model_validate(tables)
    except ValidationError as error:
        raise errors.from_pydantic(error.errors(), tables) from None
    _check_names(catalog, errors)
    _check_sources(path, catalog, errors)
    catalog = _with_family_defaults(path, catalog)
    check_models(path, catalog, errors, settings)
    return _with_families(path, catalog, errors)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise file_error(path, str(error.strerror)) from None
    if len(data) > _MAX_BYTES:
        raise file_error(path, f"it is larger than {_MAX_BYTES} bytes, so it is not a catalog")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        hint = "; it looks like UTF-16" if utf16 else f" at byte {error.start + 1}"
        raise file_error(path, f"it is not UTF-8{hint}") from None
    if not text.strip():
        raise file_error(path, "it is empty: it needs default_model and a table [models.NAME]")
    return text


def _check_names(catalog: Catalog, errors: CatalogErrors) -> None:
    """Check that every named model exists, and that every ControlNet names at least one, each once."""
    known = list(catalog.models)

    def check(name: str, *keys: str) -> None:
        if name not in catalog.models:
            meant = did_you_mean(name, known) or f"; there are {', '.join(known[:8])}"
            raise errors.at(keys, f"no model {quoted(name)}{meant}")

    check(catalog.default_model, "default_model")
    for name, controlnet in catalog.controlnets.items():
        if name == NO_CONTROLNETS:
            why = f"a ControlNet cannot be called {name}: SWIFT_WORKER_CONTROLNETS={name} means no ControlNet"
            raise errors.at(("controlnets", name), why)
        keys = ("controlnets", name, "model")
        for model in controlnet.models:
            check(model, *keys)
        if len(set(controlnet.models)) < len(controlnet.models):
            raise errors.at(keys, "names a model twice")
        if not controlnet.models and controlnet.family is None:
            raise errors.at(keys, "is missing: name the base model, a list of them, or a family")


def _check_sources(path: Path, catalog: Catalog, errors: CatalogErrors) -> None:
    for table, entries, config in (
        ("models", catalog.models, "model_index.json"),
        ("controlnets", catalog.controlnets, "config.json"),
    ):
        for name, entry in entries.items():
            _check_source(path, entry.source, config, errors, (table, name, "source"))
            if entry.config is None:
                continue
            keys = (table, name, "config")
            if not entry.source.endswith(SINGLE_FILE):
                raise errors.at(keys, f"belongs to a {SINGLE_FILE} file; a folder has its own")
            _check_source(path, entry.config, config, errors, keys)


def _check_source(
    path: Path, source: str, config: str, errors: CatalogErrors, keys: tuple[str, str, str]
) -> None:
    try:
        why = source_error(source, locate(path, source), config)
    except RuntimeError:
        why = f"{quoted(source)} begins with the home folder of a user that does not exist"
    except (OSError, ValueError) as error:  # too long, not permitted, a NUL in it
        why = f"{quoted(source)}: {getattr(error, 'strerror', None) or 'no path has such characters'}"
    if why is not None:
        raise errors.at(keys, why)


def _with_family_defaults(path: Path, catalog: Catalog) -> Catalog:
    """Give each model what its entry leaves out and its family decides."""
    families = ModelFamilies(path, catalog)
    models = {}
    for name, model in catalog.models.items():
        facts = families.facts(name)
        own = {} if facts is None else facts.defaults._asdict()
        left_out = {key: value for key, value in own.items() if key not in model.model_fields_set}
        # What the file itself says stays known as `model_fields_set`: see `ModelFamilies.job_defaults`.
        said = set(model.model_fields_set)
        models[name] = ModelEntry.model_construct(_fields_set=said, **{**dict(model), **left_out})
    return catalog.model_copy(update={"models": models})


def _with_families(path: Path, catalog: Catalog, errors: CatalogErrors) -> Catalog:
    """Add the models of each ControlNet's family to its list. If their dtypes differ, it must name one."""
    families = ModelFamilies(path, catalog)
    controlnets = {}
    for name, controlnet in catalog.controlnets.items():
        models = list(controlnet.models)
        if controlnet.family is not None:
            fitting = families.of_family(controlnet.family, name)
            models += [model for model in fitting if model not in models]
        if not models:
            known = [f"{model} ({families.family(model) or 'unknown'})" for model in catalog.models]
            why = f"no model of family {controlnet.family} that it fits; there are {', '.join(known[:8])}"
            raise errors.at(("controlnets", name, "family"), why)
        dtypes = {catalog.models[model].dtype for model in models}
        if controlnet.dtype is None and len(dtypes) > 1:
            why = f"its models are of {' and '.join(sorted(dtypes))}: give it a dtype of its own"
            raise errors.at(("controlnets", name), why)
        controlnets[name] = controlnet.model_copy(update={"models": tuple(models)})
    return catalog.model_copy(update={"controlnets": controlnets})
