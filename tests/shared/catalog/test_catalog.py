import json
import re
from pathlib import Path

import pytest

from shared.catalog.catalog import read_catalog
from shared.catalog.entries import locate
from shared.errors import InvalidSetting
from shared.settings import Settings

GOOD = """\
default_model = "a"

[models.a]
source = "model"

[controlnets.edge]
source = "net"
model = "a"
"""


def write(folder: Path, text: str) -> Path:
    for name, config in (("model", "model_index.json"), ("net", "config.json"), ("folder", "other.json")):
        (folder / name).mkdir()
        (folder / name / config).write_text("{}")
    (folder / "net.safetensors").touch()
    path = folder / "catalog.toml"
    path.write_text(text)
    return path


def test_a_catalog_names_models_and_their_controlnets(tmp_path: Path) -> None:
    catalog = read_catalog(write(tmp_path, GOOD))
    assert list(catalog.models) == ["a"]
    assert catalog.controlnets_of("a") == ["edge"]
    assert catalog.models["a"].num_inference_steps == 30


def test_engine_memory_format_and_vae_dtype_are_each_models_own(tmp_path: Path) -> None:
    more = 'engine = "graphs"\nmemory_format = "channels_last"\n'
    model = f'source = "model"\nvae_dtype = "float16"\n{more}'
    text = GOOD.replace('source = "model"\n', model).replace('source = "net"\n', f'source = "net"\n{more}')
    catalog = read_catalog(write(tmp_path, text))
    for entry in (catalog.models["a"], catalog.controlnets["edge"]):
        assert (entry.engine, entry.memory_format) == ("graphs", "channels_last")
    assert catalog.models["a"].vae_dtype == "float16"
    plain = read_catalog(write_again(tmp_path, GOOD)).models["a"]
    assert (plain.engine, plain.memory_format, plain.vae_dtype) == ("eager", "contiguous", None)


def write_again(folder: Path, text: str) -> Path:
    path = folder / "catalog.toml"
    path.write_text(text)
    return path


def test_the_embedded_catalog_is_valid() -> None:
    assert read_catalog(Settings().catalog).default_model == "emoji-sd"


def test_a_hub_id_needs_no_folder(tmp_path: Path) -> None:
    text = GOOD.replace('"model"', '"hub:org/name"')
    assert read_catalog(write(tmp_path, text)).models["a"].source == "hub:org/name"


@pytest.mark.parametrize(
    ("old", "new", "line", "why"),
    [
        ('source = "model"', 'source = "elsewhere"', 4, "elsewhere does not exist"),
        (
            'source = "model"',
            'source = "folder"',
            4,
            r"folder is not a diffusers folder: .*index\.json",
        ),
        ('source = "net"', 'source = "model"', 7, r"model is not a diffusers folder: it has no config\.json"),
        ('source = "model"', 'source = "catalog.toml"', 4, "neither a folder nor a .safetensors file"),
        ('source = "model"', 'source = "model"\nconfig = "model"', 5, "belongs to a .safetensors file"),
        ('source = "net"', 'source = "net"\nconfig = "net"', 8, "belongs to a .safetensors file"),
        (
            'source = "net"',
            'source = "net.safetensors"\nconfig = "elsewhere"',
            8,
            r"edge\.config: .*elsewhere does not exist",
        ),
        (
            'source = "net"',
            'source = "net.safetensors"\nconfig = "folder"',
            8,
            r"folder is not a diffusers folder: it has no config\.json",
        ),
        ('source = "model"', 'source = "model"\nattention_slicing = 0', 5, "attention_slicing"),
        (
            'source = "model"',
            'source = "model"\nsteps = 3',
            5,
            "steps: is unknown; did you mean num_inf",
        ),
        ('default_model = "a"', 'default_model = "b"', 1, "no model 'b'"),
        ('model = "a"\n', 'model = "c"\n', 8, "no model 'c'"),
        ('source = "model"', 'source = "model"\nscheduler = "fast"', 5, "known are ddim"),
        ('source = "model"', 'source = "model"\nwidth = 65', 5, "multiple of 8"),
        ('source = "net"\n', "", 6, "controlnets.edge.source: is missing"),
        (
            "[controlnets.edge]",
            "[controlnets.none]",
            6,
            "cannot be called none: SWIFT_WORKER_CONTROLNETS=none",
        ),
        ("[models.a]", "[models.a]\nsource = 1", 5, "overwrite"),
        ('default_model = "a"', 'default_model = "a"\ndefault_model = "a"', 2, "overwrite"),
    ],
)
def test_an_error_stops_the_start_and_names_its_line(
    tmp_path: Path, old: str, new: str, line: int, why: str
) -> None:
    text = GOOD[: len(GOOD) - len(old)] + new if GOOD.endswith(old) else GOOD.replace(old, new, 1)
    with pytest.raises(InvalidSetting, match=why) as caught:
        read_catalog(write(tmp_path, text))
    assert f"line {line}" in str(caught.value)


def written(folder: Path, old: str, new: str) -> Path:
    before, _, after = GOOD.rpartition(old)
    return write(folder, f"{before}{new}{after}")


MODEL, CONTROLNET = 'source = "model"', 'source = "net"'


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[models.a]", "[model.a]", "line 3: model: is unknown; did you mean [models.a]?"),
        ("[controlnets.edge]", "[controlnet.edge]", "line 6: controlnet: is unknown; did you mean [controln"),
        (
            "[controlnets.edge]",
            "[nets.edge]",
            "line 6: nets: is unknown; did you mean [controlnets.edge]?",
        ),
        ("[models.a]", "[loras.x]\n[models.a]", "line 3: loras: LoRAs are not listed here: they are"),
        ("[models.a]", "[banana]\n[models.a]", "line 3: banana: is unknown; known are default_model, models"),
        ("[models.a]", "[[models]]", "line 3: models: must be a table: [models.NAME]"),
        ("[models.a]", "[models]", "line 4: models.source: must be a table: [models.NAME]"),
        ("[models.a]", '[models."my model"]', "line 3: models.my model: a name is 1 to 64 letters"),
        ("[models.a]", '[models."../a"]', "line 3: models.../a: a name is"),
        ("[models.a]", '[models."a\\u0007"]', "models.a\\x07: a name is"),
        ('default_model = "a"', "", "catalog {path}, line 1: default_model: is missing: add a line such as"),
        ('default_model = "a"', "default_model = 1", "line 1: default_model: 1 must be text in quotes"),
        ('default_model = "a"', 'default_model = ["a"]', "line 1: default_model: must be text in quotes"),
        (
            MODEL,
            f'{MODEL}\ndefault_model = "a"',
            "line 5: models.a.default_model: is unknown here",
        ),
        (
            MODEL,
            f"{MODEL}\ndefault = true",
            "line 5: models.a.default: is unknown here",
        ),
        (
            MODEL,
            f"{MODEL}\nsteps = 3",
            "models.a.steps: is unknown; did you mean num_inference_steps?",
        ),
        (
            MODEL,
            f"{MODEL}\nschedular = 'x'",
            "models.a.schedular: is unknown; did you mean scheduler?",
        ),
        (MODEL, f"{MODEL}\nzzz = 3", "line 5: models.a.zzz: is unknown; known are variant, config"),
        (
            CONTROLNET,
            f'{CONTROLNET}\nmodels = ["a"]',
            "line 8: controlnets.edge.models: is unknown; did you mean model?",
        ),
        (
            MODEL,
            f"{MODEL}\nnum_inference_steps = 5000",
            "num_inference_steps: is 5000; scheduler",
        ),
        (MODEL, f"{MODEL}\nnum_inference_steps = 201", "is 201; SWIFT_MAX_STEPS allows at most 200"),
        (MODEL, f"{MODEL}\nnum_inference_steps = 25.0", "num_inference_steps: 25.0 must be a whole number"),
        (MODEL, f"{MODEL}\nnum_inference_steps = true", "num_inference_steps: True must be a whole number"),
        (MODEL, f'{MODEL}\nnum_inference_steps = "25"', "num_inference_steps: '25' must be a whole number"),
        (MODEL, f"{MODEL}\nnum_inference_steps = 0", "num_inference_steps: 0 must be at least 1"),
        (MODEL, f"{MODEL}\nguidance_scale = nan", "guidance_scale: nan must be"),
        (MODEL, f"{MODEL}\nguidance_scale = 1e9", "guidance_scale: 1000000000.0 must be at most 100"),
        (
            MODEL,
            f"{MODEL}\nguidance_scale = 1979-05-27",
            "guidance_scale: datetime.date(1979, 5, 27) must",
        ),
        (MODEL, f"{MODEL}\nwidth = 65", "line 5: models.a.width: 65 must be a multiple of 8"),
        (
            MODEL,
            f"{MODEL}\nwidth = 4096",
            "width: is 4096; SWIFT_MAX_SIDE_PX allows at most 2048",
        ),
        (MODEL, f"{MODEL}\nheight = {'9' * 5000}", "catalog {path}: a number in it has thousands of digits"),
        (MODEL, f'{MODEL}\ndtype = "fp16"', "line 5: models.a.dtype: 'fp16' must be"),
        (MODEL, f'{MODEL}\ndtype = "fp16"', "; did you mean float16?"),
        (MODEL, f'{MODEL}\ndtype = "floot16"', "; did you mean float16?"),
        (MODEL, f'{MODEL}\nvae_dtype = "fp32"', "line 5: models.a.vae_dtype: 'fp32' must be"),
        (MODEL, f'{MODEL}\nvae_dtype = "fp32"', "; did you mean float32?"),
        (MODEL, f'{MODEL}\nengine = "graph"', "line 5: models.a.engine: 'graph' must be"),
        (MODEL, f'{MODEL}\nengine = "graph"', "; did you mean graphs?"),
        (MODEL, f"{MODEL}\ncuda_graphs = true", "cuda_graphs: is unknown; did you mean engine?"),
        (MODEL, f"{MODEL}\nmemory_format = true", "line 5: models.a.memory_format: True must be"),
        ('model = "a"', 'model = "a"\nengine = 1', "line 9: controlnets.edge.engine: 1 must be"),
        (
            'model = "a"',
            'model = "a"\nvae_dtype = "float32"',
            "line 9: controlnets.edge.vae_dtype: is unknown",
        ),
        (
            MODEL,
            f'{MODEL}\nscheduler = "eular"',
            "models.a.scheduler: 'eular' is unknown; did you mean euler?",
        ),
        (MODEL, f'{MODEL}\nrevision = "main"', "a revision is part of the source, hub:OWNER/NAME@REVISION"),
        (MODEL, f'{MODEL}\nscheduler = "EulerDiscreteScheduler"', "; did you mean euler?"),
        (MODEL, f'{MODEL}\nscheduler = "DPM++ 2M Karras"', "; did you mean dpmpp_2m_karras?"),
        (MODEL, f'{MODEL}\nscheduler = "euler_ancestral"', "; did you mean euler_a?"),
        (MODEL, 'source = ""', "line 4: models.a.source: is empty"),
        (MODEL, 'source = "org/name"', "org/name does not exist; did you mean hub:org/name?"),
        (MODEL, 'source = "hub:a/b/c"', "line 4: models.a.source: must be hub:NAME or hub:OWNER/NAME"),
        (MODEL, 'source = "hub:"', "must be hub:NAME or hub:OWNER/NAME"),
        (
            MODEL,
            'source = "https://huggingface.co/org/name/tree/main"',
            "line 4: models.a.source: 'https://huggingface.co/org/name/tree/main' is an address; did you "
            "mean hub:org/name?",
        ),
        (MODEL, 'source = "https://x.test/m.safetensors"', "is an address: download it, and name the folder"),
        (MODEL, 'source = "~nobody-of-that-name/m"', "the home folder of a user that does not exist"),
        (MODEL, 'source = "a\\u0000b"', "no path has such characters"),
        (MODEL, f'source = "{"x" * 5000}"', "File name too long"),
        ('model = "a"', 'model = "b"', "line 8: controlnets.edge.model: no model 'b'; there are a"),
        ('model = "a"', 'model = ["a", "aa"]', "no model 'aa'; did you mean a?"),
        ('model = "a"', 'model = ["a", 1]', "line 8: controlnets.edge.model: 1 must be text in quotes"),
        ('model = "a"', "model = {}", "controlnets.edge.model: must be a name or a list of names"),
        ('model = "a"', 'model = ["a", "a"]', "line 8: controlnets.edge.model: names a model twice"),
        (
            'model = "a"',
            "",
            "controlnets.edge.model: is missing: name the base model, a list",
        ),
        (
            'model = "a"',
            'family = "sd4"',
            "controlnets.edge.family: 'sd4' must be 'flux', 'qwen-image', 'sd1', 'sd2', 'sd3'",
        ),
        (
            'model = "a"',
            'family = "sdxl"',
            "controlnets.edge.family: no model of family sdxl that it fits",
        ),
        (
            'model = "a"',
            'model = "a"\ncontrol_range = [1, 1]',
            "line 9: controlnets.edge.control_range: black and white are the same number",
        ),
        ('model = "a"', "model = 'a", "at the end, line 8"),
        ('model = "a"', 'model = """a', "at the end, line 8"),
        ('model = "a"', "model", "at line 8"),
        ('model = "a"', "model = ", "line 8"),
        ('model = "a"', f"model = {'[' * 5000}", "nested too deeply"),
    ],
)
def test_every_catalog_error_is_one_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = written(tmp_path, old, new)
    with pytest.raises(InvalidSetting) as caught:
        read_catalog(path, Settings())
    said = str(caught.value)
    assert sentence.replace("{path}", str(path)) in said
    assert said.startswith(f"catalog {path}")
    assert said.isprintable()
    assert len(said) < 700


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty: it needs default_model and a table"),
        (b" \n\t\n", "it is empty"),
        (b"# nothing but a comment\n", "default_model: is missing"),
        ("default_model = 'a'".encode("utf-16"), "it is not UTF-8; it looks like UTF-16"),
        (b"default_model = '\xe4'", "it is not UTF-8 at byte 18"),
        (b"x" * (1 << 20) + b"x", "it is larger than 1048576 bytes, so it is not a catalog"),
    ],
)
def test_a_file_that_is_not_a_catalog_is_refused_by_its_name(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(data)
    with pytest.raises(InvalidSetting, match=re.escape(why)) as caught:
        read_catalog(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_refused_as_a_catalog(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="Is a directory"):
        read_catalog(tmp_path)


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert list(read_catalog(path).models) == ["a"]
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace('"net"', '"nit"').replace("\n", "\r\n").encode())
    with pytest.raises(InvalidSetting, match=r"line 7: controlnets\.edge\.source"):
        read_catalog(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('default_model = "a"\nmodels.a.source = "model"\nmodels.a.width = 9\n', 3),
        ('default_model = "a"\n[models]\na = {source = "model", width = 9}\n', 3),
        ('default_model = "a"\n[ models . "a" ]\nsource = """\\\n  model"""\n\n# width\nwidth = 9\n', 7),
        ('default_model = "a"\n[models.a]\n"width" = 9\nsource = "model"\n', 3),
    ],
)
def test_the_line_is_found_in_every_notation_of_toml(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(InvalidSetting, match=f"line {line}: models.a.width: 9 must be a multiple of 8"):
        read_catalog(write(tmp_path, text))


def test_a_home_folder_is_expanded_in_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = written(tmp_path, MODEL, 'source = "~/model"')
    catalog = read_catalog(path)
    assert locate(path, catalog.models["a"].source) == tmp_path / "model"


SD1: dict[str, object] = {"cross_attention_dim": 768}
SD2: dict[str, object] = {"cross_attention_dim": 1024}
SDXL: dict[str, object] = {"cross_attention_dim": 2048, "addition_embed_type": "text_time"}


def write_many(folder: Path, controlnet: str, **shapes: dict[str, object]) -> Path:
    """Models of these shapes, of which one called half is in float16, and a ControlNet for ``SD1``."""
    text = f'default_model = "{next(iter(shapes))}"\n'
    for name, config in shapes.items():
        (folder / name / "unet").mkdir(parents=True)
        (folder / name / "model_index.json").write_text("{}")
        (folder / name / "unet" / "config.json").write_text(json.dumps(config))
        text += f'[models.{name}]\nsource = "{name}"\n' + ('dtype = "float16"\n' if name == "half" else "")
    (folder / "net").mkdir()
    (folder / "net" / "config.json").write_text(json.dumps(SD1))
    (folder / "c.toml").write_text(f'{text}[controlnets.edge]\nsource = "net"\n{controlnet}\n')
    return folder / "c.toml"


@pytest.mark.parametrize(
    ("controlnet", "models"),
    [
        ('model = "one"', ("one",)),
        ('model = ["two", "one"]', ("two", "one")),
        ('family = "sd1"', ("one", "two")),
        ('family = "sd1"\nmodel = "two"', ("two", "one")),
    ],
)
def test_a_controlnet_fits_one_model_several_or_a_family(
    tmp_path: Path, controlnet: str, models: tuple[str, ...]
) -> None:
    toy = SD1 | {"block_out_channels": [8, 16]}
    catalog = read_catalog(write_many(tmp_path, controlnet, one=SD1, xl=SDXL, two=SD1, other=SD2, toy=toy))
    assert catalog.controlnets["edge"].models == models
    assert [name for name in catalog.models if catalog.controlnets_of(name)] == sorted(models)


def test_a_controlnet_for_models_of_two_dtypes_must_name_its_own(tmp_path: Path) -> None:
    path = write_many(tmp_path, 'family = "sd1"', one=SD1, half=SD1)
    with pytest.raises(InvalidSetting, match="are of float16 and float32: give it a dtype of its own"):
        read_catalog(path)
    path.write_text(path.read_text() + 'dtype = "float16"\n')
    assert read_catalog(path).controlnets["edge"].models == ("one", "half")


def test_a_missing_catalog_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"nowhere\.toml"):
        read_catalog(tmp_path / "nowhere.toml")
