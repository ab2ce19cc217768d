"""params.yaml and the presets: every bad value is one line that names file and key, and a recipe arrives as written."""

import copy
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from text2sql.base.errors import UserError
from text2sql.base.params import Params, check, read_params, read_yaml

PARAMS = ROOT / "params.yaml"
PRESETS = sorted((ROOT / "presets").glob("*.yaml"), key=lambda path: path.stem)
NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")


def leaves(values, under=""):
    """Every value below `values` with its dotted key."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, f"{under}.{key}" if under else key)
    else:
        yield under, values


def changed(key: str, value) -> dict:
    """The repository's params with one key set, or removed where the value is `...`."""
    values = read_yaml(PARAMS)
    *sections, last = key.split(".")
    place = values
    for section in sections:
        place = place[section]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return values


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_the_repositorys_own_params_are_valid():
    seed, validate = read_params("seed", "validate", path=PARAMS)
    assert seed == 7 and validate.has_rows is True


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("finetune.learning_rat", 0.1, "unknown key; remove it or mend its spelling"),
        ("sede", 3, "unknown key"),
        ("finetune.learning_rate", ..., "missing key; add it"),
        ("report", ..., "missing key; add it"),
        ("finetune.learning_rate", "2e-4", "valid number, got the text '2e-4'; mend the value"),
        ("finetune.lora.r", "16", "valid integer, got the text '16'"),
        ("finetune.lora.r", 16.5, "valid integer, got 16.5"),
        ("finetune.learning_rate", 0, "greater than 0, got 0"),
        ("finetune.learning_rate", 2, "less than or equal to 1, got 2"),
        ("finetune.epochs", float("inf"), "finite number, got inf"),
        ("finetune.lora.target_modules", 5, "got 5"),
        ("finetune.lora.init_lora_weights", "psisa", "got the text 'psisa'"),
        ("validate.has_rows", "yes", "valid boolean, got the text 'yes'"),
        ("select.holdout", 1.0, "less than 1, got 1.0"),
        ("select.languages", ["en", "fr"], "got the text 'fr'"),
        ("select", 3, "got 3"),
        ("ingest.columns", {"questoin": "q"}, "got the text 'questoin'"),
        ("resolve.sha256", "AB", "got the text 'AB'"),
        ("seed", -1, "greater than or equal to 0, got -1"),
        ("seed", True, "valid integer, got True"),
    ],
)
def test_a_bad_value_is_one_line_with_file_key_and_remedy(key, value, said):
    with pytest.raises(UserError) as error:
        check(changed(key, value), Path("params.yaml"))
    assert one_line(error).startswith(f"params.yaml, {key}") and said in one_line(error)


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("finetune.lora", "use_doar", True, "use_doar: no name of PEFT's LoraConfig"),
        ("finetune", "keep", "best", "keep: best and patience need eval_rows above 0"),
        ("finetune", "patience", 2, "keep: best and patience need eval_rows above 0"),
    ],
)
def test_keys_that_do_not_stand_together_are_one_line_with_their_section(section, key, value, said):
    with pytest.raises(UserError) as error:
        check(changed(f"{section}.{key}", value), Path("params.yaml"))
    assert one_line(error).startswith(f"params.yaml, {section}: {said}")


def test_other_names_of_pefts_configuration_may_be_added():
    assert check(changed("finetune.lora.exclude_modules", ["o_proj"])).finetune.lora.exclude_modules == ["o_proj"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: [1", ", line 1: not valid YAML"),
        ("seed: 1\n\tingest: {}\n", ", line 2: not valid YAML"),
        ("seed: 1\nseed: 2\n", 'duplicate key "seed"'),
        ("", "the file: Input should be a valid dictionary"),
        ("- 1\n", "the file: Input should be a valid dictionary"),
        (b"seed: \xff\n", "not valid YAML"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(text, said, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        read_params("seed", path=path)
    assert one_line(error).startswith(str(path)) and said in one_line(error)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(UserError, match=r"params\.yaml: no such file; run from the project's folder"):
        read_params("seed", path=tmp_path / "params.yaml")


@pytest.mark.parametrize("path", [PARAMS, *PRESETS], ids=lambda path: path.stem)
def test_no_number_is_text_to_a_yaml_1_1_reader(path):
    """PyYAML, which notebooks and other tools read the file with, takes 2e-4 for text."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values == read_yaml(path)
    assert [(key, value) for key, value in leaves(values) if isinstance(value, str) and NUMBER.fullmatch(value)] == []


# Presets


def preset(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "stages/preset.py"), *arguments], cwd=cwd, capture_output=True, text=True
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a copy of params.yaml."""
    shutil.copy(PARAMS, tmp_path / "params.yaml")
    return tmp_path


def overlaid(values: dict, over: dict) -> dict:
    """`values` with those of a preset in their place."""
    merged = copy.deepcopy(values)
    for key, value in leaves(over):
        *sections, last = key.split(".")
        place = merged
        for section in sections:
            place = place[section]
        place[last] = value
    return merged


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_uses_only_keys_that_exist_and_gives_valid_params(path):
    values, own = read_yaml(PARAMS), read_yaml(path)
    assert {key for key, _ in leaves(own)} <= {key for key, _ in leaves(values)}
    assert isinstance(check(overlaid(values, own), path), Params)
    assert own["preset"] == path.stem
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_repositorys_params_are_the_quickstart_preset():
    values = read_yaml(PARAMS)
    assert overlaid(values, read_yaml(ROOT / "presets/quickstart.yaml")) == values


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_writing_a_preset_sets_exactly_its_keys_and_keeps_the_comments(path, folder):
    done = preset(path.stem, "--write", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_yaml(folder / "params.yaml") == overlaid(read_yaml(PARAMS), read_yaml(path))
    comments = [
        [line.partition("#")[2] for line in file.read_text(encoding="utf-8").splitlines() if "#" in line]
        for file in (PARAMS, folder / "params.yaml")
    ]
    assert comments[0] == comments[1]


def test_writing_the_preset_of_the_fresh_repository_changes_nothing(folder):
    preset("quickstart", "--write", cwd=folder)
    assert (folder / "params.yaml").read_bytes() == PARAMS.read_bytes()


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_the_flags_of_a_preset_are_what_dvc_makes_of_them(path, folder):
    """Read and applied by the code that `dvc exp run -S` runs."""
    from dvc.utils.hydra import apply_overrides

    done = preset(path.stem, cwd=folder)
    if path.stem == "phi2-gretel":  # "basic SQL" would fall apart in the shell
        assert done.returncode == 1 and "cannot be a flag; use --write" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert set(words[::2]) == {"-S"}
    apply_overrides(folder / "params.yaml", words[1::2])
    assert read_yaml(folder / "params.yaml") == overlaid(read_yaml(PARAMS), read_yaml(path))


def test_a_small_learning_rate_survives_dvc_and_write(folder):
    """DVC writes 1.0e-5 as 1e-05, which PyYAML would read as text."""
    from dvc.utils.hydra import apply_overrides

    apply_overrides(folder / "params.yaml", ["finetune.learning_rate=1.0e-5"])
    (config,) = read_params("finetune", path=folder / "params.yaml")
    assert config.learning_rate == 1e-5

    scripts = shutil.copytree(ROOT / "stages", folder / "stages")
    (scripts / "presets/small.yaml").write_text("# x\nfinetune:\n  learning_rate: 4.0e-5\n  weight_decay: 3.0e-7\n")
    done = subprocess.run(
        [sys.executable, "stages/preset.py", "small", "--write"], cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    written = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))["finetune"]
    assert (written["learning_rate"], written["weight_decay"]) == (4e-5, 3e-7)


def test_without_a_name_the_presets_are_listed_with_their_first_line(folder):
    listed = preset(cwd=folder).stdout.splitlines()
    assert [line.split()[0] for line in listed] == [path.stem for path in PRESETS]
    assert "quickstart         The embedded model on generated data" in preset(cwd=folder).stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("finetune: {lerning_rate: 0.1}", "finetune.lerning_rate: params.yaml has no such key; mend its spelling"),
        ("finetune: {learning_rate: 7}", "finetune.learning_rate: Input should be less than or equal to 1, got 7"),
        ("finetune: [", "line 2: not valid YAML"),
        ("resolve: {name: a b}", "resolve.name: a value with white space cannot be a flag; use --write"),
        ("", "holds no keys"),
    ],
)
def test_a_bad_preset_is_one_line_and_nothing_is_written(text, said, folder):
    scripts = shutil.copytree(ROOT / "stages", folder / "stages")
    (scripts / "presets/bad.yaml").write_text(f"# bad\n{text}")
    arguments = ["bad"] if "--write" in said else ["bad", "--write"]
    done = subprocess.run([sys.executable, "stages/preset.py", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and said in done.stderr
    assert (folder / "params.yaml").read_bytes() == PARAMS.read_bytes()


def test_a_preset_that_does_not_exist_names_those_that_do(folder):
    done = preset("qiuckstart", "--write", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    there = ", ".join(path.stem for path in PRESETS)
    assert done.stderr == f"error: no preset qiuckstart; there are {there}\n"
    assert (folder / "params.yaml").read_bytes() == PARAMS.read_bytes()


def test_a_preset_outside_the_project_says_where_to_run(tmp_path):
    done = preset("smoke", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: params.yaml: no such file; run from the project's folder\n"
