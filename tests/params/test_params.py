"""params.yaml: whatever is wrong is named with its path and the nearest valid name, before any work starts."""

import copy
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml
from written import all_entries, files

from tasks.basics import ROOT, BadInput
from tasks.params.experiment import Experiment
from tasks.params.extends import merged
from tasks.params.load import PARAMS_FILE, entries, load, load_experiment, load_model
from tasks.params.reading import read_yaml

FAST = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@pytest.fixture
def raw() -> dict[str, Any]:
    return all_entries()


@pytest.fixture
def error(tmp_path: Path):
    """The message that a changed parameter file gives."""

    def message(raw: Any) -> str:
        path = tmp_path / "params.yaml"
        path.write_text(raw if isinstance(raw, str) else yaml.dump(raw, Dumper=FAST), encoding="utf-8")
        with pytest.raises(BadInput) as caught:
            load(path)
        return str(caught.value)

    return message


def test_the_file_of_the_repository_is_valid():
    assert "demo" in load().experiments


@pytest.mark.parametrize(
    ("place", "key", "near"),
    [
        ("experiments.demo", "metricks", "metrics"),
        ("experiments.demo.finetune", "lambda_lpip", "lambda_lpips"),
        ("experiments.demo.dataset", "tests", "test"),
        ("experiments.demo.pseudo_targets", "stopt", "stop_t"),
        ("experiments.demo.degradations.raw_x2_severe", "presets", "preset"),
        ("experiments.demo_methods.compare.difface", "methods", "method"),
        ("experiments.demo_methods.compare.difface.method", "etaa", "eta"),
        ("experiments.demo_methods.cleaning.method", "step", "steps"),
        ("models.demo/prior.training", "iteration", "iterations"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_the_nearest_valid_one(raw, error, place, key, near):
    node = raw
    for part in place.split("."):
        node = node[part]
    node[key] = 1
    message = error(raw)
    assert f"{place.split('.')[-1]}" in message
    assert f"{key}: unknown key. Did you mean '{near}'?" in message


def test_wrong_names_have_suggestions(raw, error):
    raw["experiments"]["demo"]["metrics"] = ["psrn"]
    raw["experiments"]["demo"]["degradations"]["raw_x2_severe"]["preset"] = "raw_x2_sever"
    message = error(raw)
    assert "experiments.demo.metrics.0: unknown metric 'psrn'. Did you mean 'psnr'?" in message
    assert "Did you mean 'raw_x2_severe'?" in message


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("finetune.lr", -1, "finetune.lr: Input should be greater than 0 (found: -1)"),
        ("finetune.lr", float("inf"), "finetune.lr: Input should be a finite number (found: inf)"),
        ("finetune.lr", "fast", "finetune.lr: Input should be a valid number"),
        ("finetune.lr", 1e300, "demo.finetune.lr: expected a learning rate of at most 1 (found: 1e+300)"),
        ("finetune.discriminator_lr", 1e6, "demo.finetune.discriminator_lr: expected a learning rate of at most 1"),
        ("finetune.discriminator_width", 8, "discriminator_width is of the U-Net, and discriminator is `prior`"),
        ("dataset.size", 100, "dataset.size 100: prior.arch 'demo128' needs a multiple of 16"),
        ("finetune.lr_min", 2e-4, "demo.finetune.lr_min: expected at most lr = 0.0001, from which the learning rate"),
        ("metrics", ["psnr", "ssim", "psnr"], "demo.metrics: 'psnr' comes twice"),
        ("methods", ["lq", "pretrained", "pseudo_target", "adapted", "lq"], "demo.methods: 'lq' comes twice"),
        ("cleaning.metrics", ["niqe", "niqe"], "demo.cleaning.metrics: 'niqe' comes twice"),
        ("finetune.micro_batch", 3, "micro_batch 3 must divide batch 4"),
        ("pseudo_targets.stop_t", 300, "stop_t (L = 300) must be below start_t (K = 300)"),
        ("dataset.kind", "folder", "dataset"),
        ("degradations", {}, "real photos have none, other data sets need at least one"),
        ("prior", None, "needs the section `prior`, which is missing"),
        ("restorer.arch", "codeformer", "finetune.recipe 'swinir_gan' does not train restorer.arch 'codeformer'"),
        ("seed", None, "seed"),
        ("prior.arch", "demo182", "experiments.demo.prior.arch: unknown prior 'demo182'. Did you mean 'demo128'?"),
        ("restorer.arch", "swinr", "unknown restorer 'swinr'. Did you mean 'swinir'?"),
        ("compare.idm.method.kind", "imd", "compare.idm.method: Input tag 'imd'"),
        ("cleaning", None, "compare.idm: a method 'idm' needs `weights`, or the experiment a `cleaning`"),
        ("authenticity.degradation", "eq8", "unknown 'eq8'. Did you mean 'eq9'?"),
        (
            "compare.difface.method",
            {"kind": "difface_inpaint", "respacing": "50", "start_t": 300, "eta": 1},
            "compare.difface: its estimator is a 'lama', found 'swinir'",
        ),
        (
            "compare.difface.estimator",
            "adaptd",
            "estimator.adapted: Input should be 'adapted' (found: 'adaptd')",
        ),
        (
            "compare.difface.estimator",
            {"arch": "swinr", "weights": "x"},
            "compare.difface.estimator.arch: unknown restorer 'swinr'. Did you mean 'swinir'?",
        ),
        ("compare.idm.estimator", "adapted", "compare.idm.estimator: a method 'idm' has none; remove it"),
        ("pseudo_targets.factor", 5, "pseudo_targets.factor 5 does not divide dataset.size 128"),
        ("title", 2024, 'title: expected text, found 2024. Write it in quotes: "2024"'),
        ("seed", True, "seed: Input should be a valid integer (found: True)"),
        (
            "degradations",
            {"../../x": {"preset": "raw_x2_severe"}},
            "demo.degradations.../../x: a name is 1 to 100 of a-z",
        ),
        ("compare", {"a/b": {}}, "demo.compare.a/b: a name is 1 to 100 of a-z"),
        ("compare", {"lq": {}}, "demo.compare.lq: the name of a method is none of lq, pretrained"),
        ("references", {"real": {}}, "demo.references.real: the name of a reference set is none of real"),
        ("published", [], f"published: the papers' claims and numbers are in {Path('data', 'published')}"),
    ],
)
def test_a_wrong_value_is_named_with_its_path_and_what_was_found(raw, error, place, value, expected):
    *parents, last = place.split(".")
    raw["experiments"]["demo"] |= {
        key: copy.deepcopy(raw["experiments"]["demo_methods"][key])
        for key in ("compare", "cleaning", "authenticity", "degradations", "metrics")
    }
    node = raw["experiments"]["demo"]
    for part in parents:
        node = node[part]
    node[last] = value
    assert expected in error(raw)


def test_all_mistakes_are_reported_at_once(raw, error):
    raw["experiments"]["demo"]["sed"] = 1
    del raw["experiments"]["demo"]["seed"]
    raw["models"]["demo/prior"]["training"]["lr"] = 0
    lines = error(raw).splitlines()
    assert len(lines) == 3
    assert any("experiments.demo.seed: this key is missing" in line for line in lines)


def test_a_camera_needs_an_iso(raw, error):
    raw["experiments"]["demo"]["degradations"]["raw_x2_severe"]["camera"] = "camera.json"
    assert "camera and iso go together" in error(raw)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "42"])
def test_a_file_that_is_no_mapping_is_refused(error, text):
    assert "params.yaml" in error(text)


def test_a_missing_file_says_how_to_get_it_back(tmp_path):
    with pytest.raises(BadInput, match=r"git checkout -- params\.yaml"):
        load(tmp_path / "params.yaml")


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(BadInput, match=r"params\.yaml cannot be read \(Is a directory\)"):
        load(tmp_path / "params.yaml")


def test_an_unknown_experiment_is_named_with_the_nearest():
    with pytest.raises(BadInput, match=r"there is no 'dem'\. Did you mean 'demo'\?"):
        load_experiment("dem")


def small(**entries: Any) -> str:
    """A parameter file: `base` is valid, the others extend it or each other."""
    base = load_experiment("demo").model_dump(mode="json", exclude={"claims", "published"}, exclude_none=True)
    return yaml.safe_dump({"experiments": {"base": base, **entries}}, sort_keys=False)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_child_has_its_parents_settings_but_for_its_own(tmp_path):
    grandchild = {"extends": "child", "restorer": None, "finetune": None, "methods": ["lq"]}
    child = {"extends": "base", "dataset": {"test": 3}, "metrics": ["ssim"], "seed": 5}
    found = load(write(tmp_path, small(grandchild=grandchild, child=child))).experiments
    base = found["base"]
    assert found["child"] == base.model_copy(
        update={"dataset": base.dataset.model_copy(update={"test": 3}), "metrics": ("ssim",), "seed": 5}
    )
    assert found["grandchild"] == found["child"].model_copy(
        update={"restorer": None, "finetune": None, "methods": ("lq",)}
    )


@pytest.mark.parametrize(
    ("parent", "child", "expected"),
    [
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"a": 1, "b": 2}, {"c": 3, "b": 2, "a": 1}, {"c": 3, "b": 2, "a": 1}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": None}}, {"a": {"x": 1}}),
        ({"a": 1}, {"a": None, "b": None}, {"b": None}),
        ({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
    ],
)
def test_mappings_merge_lists_replace_and_null_removes(parent, child, expected):
    assert list(merged(parent, child).items()) == list(expected.items())


def test_every_extends_of_the_repository_changes_what_it_says():
    whole = load()
    for section, written in all_entries().items():
        resolved = getattr(whole, section)
        for name, entry in written.items():
            if parent := entry.get("extends"):
                before, after = (resolved[which].model_dump(mode="json") for which in (parent, name))
                changed = {key for key in before if before[key] != after[key]} - {"claims", "published"}
                assert changed == set(entry) - {"extends"}, name


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"a": {"extends": "bse"}}, "experiments.a.extends: there is no 'bse'. Did you mean 'base'?"),
        ({"a": {"extends": 7}}, "experiments.a.extends: there is no 7."),
        ({"a": {"extends": "b"}, "b": {"extends": "a"}}, "a circle: a extends b extends a"),
        ({"a": {"extends": "a"}}, "a circle: a extends a"),
        ({"a": 5}, "experiments.a: expected settings (key: value), found 5"),
        (
            {"a": {"extends": "base", "finetune": {"lr": -1}}},
            "params.yaml: experiments.a (extends base): finetune.lr: Input should be greater than 0 (found: -1)",
        ),
        (
            {"a": {"extends": "b", "sed": 1}, "b": {"extends": "base"}},
            "experiments.a (extends b, which extends base): sed: unknown key. Did you mean 'seed'?",
        ),
        ({"a": {"extends": "base", "seed": None}}, "experiments.a (extends base): seed: this key is missing"),
        ({"../x": {"extends": "base"}}, "experiments.../x (extends base): a name is 1 to 100 of a-z"),
        ({"A": {"extends": "base"}}, "experiments.A (extends base): a name is 1 to 100 of a-z"),
    ],
)
def test_what_is_wrong_with_an_entry_names_its_parents(error, entries, expected):
    assert expected in error(small(**entries))


def test_an_inherited_fault_is_told_once(error):
    message = error(small(a={"extends": "base", "seed": "x", "sed": 1}, b={"extends": "a", "titel": "b"}))
    assert [line.split(":")[1].strip() for line in message.splitlines()] == [
        "experiments.a (extends base)",
        "experiments.a (extends base)",
        "experiments.b (extends a, which extends base)",
    ]


def test_a_fault_of_one_experiment_stops_no_other(tmp_path):
    path = write(
        tmp_path, small(wrong={"extends": "base", "seed": "x"}, lost={"extends": "nobody"}, good={"extends": "base"})
    )
    assert isinstance(load_experiment("good", path), Experiment)
    assert tuple(entries("experiments", path)) == ("base", "wrong", "lost", "good")
    with pytest.raises(BadInput, match="wrong") as caught:
        load_experiment("wrong", path)
    assert "lost" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("experiments: {a: &a {seed: 1}, b: *a}", "line 1, column 18: anchors and aliases"),
        ("experiments:\n  a: {seed: 1}\n  b:\n    <<: *a\n", "line 4, column 9: anchors and aliases"),
        ("experiments: {a: {}, a: {}}", "the key 'a' comes twice"),
        ("experiments: {[a]: 1}", "a key is a name"),
        *((f"experiments: {tag} x", "line 1, column 14: tags (") for tag in ("!!int", "!!timestamp", "!!bool", "!foo")),
        (f"experiments: {'1' * 5000}", "is not valid YAML: Exceeds the limit"),
        ("experiments: {con: {}}", "experiments.con: Windows keeps this name for a device"),
        ("experiments: [a]", "experiments: expected entries (name: settings), found ['a']"),
        ("experimets: {}", "experimets: unknown key. Did you mean 'experiments'?"),
    ],
)
def test_yaml_that_does_not_say_one_thing_once_is_refused(error, text, expected):
    assert expected in error(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1e-4", 1e-4),
        ("010", "010"),
        ("-3", -3),
        ("", None),
    ],
)
def test_a_scalar_is_what_dvc_reads_too(tmp_path, text, value):
    assert read_yaml(write(tmp_path, f"{text or 'x'}: {text}")) == {text or "x": value}


def test_a_model_may_have_one_folder(raw, error):
    raw["models"]["a/b/c"] = raw["models"]["../x"] = raw["models"]["demo/prior"]
    message = error(yaml.dump(raw, Dumper=type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})))
    assert "models.a/b/c: a name is" in message
    assert "models.../x: a name is" in message


def published(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "data" / "published").mkdir(parents=True, exist_ok=True)
    (tmp_path / "data" / "published" / name).write_text(text, encoding="utf-8")


CLAIM = "{text: T, source: S, degradation: raw_x2_severe, metric: psnr, better: adapted, than: lq}"
TABLE = "{source: Table 1, scores: {raw_x2_severe: {lq: {psnr: 20}}}}"


def test_what_the_papers_say_belongs_to_its_experiment_alone_in_their_order(tmp_path):
    path = write(tmp_path, small(child={"extends": "base"}))
    published(tmp_path, "yu.yaml", f"base: {{claims: [{CLAIM.replace('T,', 'second,')}]}}")
    published(tmp_path, "kuai.yaml", f"base: {{tables: [{TABLE}], claims: [{CLAIM}]}}")
    found = load(path).experiments
    assert [claim.text for claim in found["base"].claims] == ["T", "second"]
    assert [table.source for table in found["base"].published] == ["Table 1"]
    assert found["child"].claims == found["child"].published == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"base: {{claims: [{CLAIM.replace('lq', 'lqq')}]}}",
            "base.claims.0.than: the experiment has no 'lqq'. Did you",
        ),
        (f"base: {{claims: [{CLAIM.replace('psnr', 'psrn')}]}}", "base.claims.0.metric: unknown metric 'psrn'."),
        (f"base: {{tables: [{TABLE.replace('20', 'much')}]}}", "base.tables.0.scores.raw_x2_severe.lq.psnr: Input"),
        (f"base: {{table: [{TABLE}]}}", "base.table: unknown key. Did you mean 'tables'?"),
        (f"bas: {{tables: [{TABLE}]}}", "bas: there is no such experiment. Did you mean 'base'?"),
        ("base: 5", "base: Input should be an object"),
        ("[]", "expected experiments (name: tables and claims), found []"),
    ],
)
def test_what_is_wrong_in_a_paper_names_its_file(tmp_path, error, text, expected):
    published(tmp_path, "kuai.yaml", text)
    assert f"{Path('data', 'published', 'kuai.yaml')}: {expected}" in error(small())


EXPERIMENTS = "data/experiments"


def file_of_its_own(tmp_path: Path, name: str, text: str, folder: str = EXPERIMENTS) -> Path:
    file = tmp_path / folder / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return tmp_path / "params.yaml"


def test_an_experiment_may_be_a_file_and_start_from_one_of_another(tmp_path):
    write(tmp_path, small(child={"extends": "middle", "seed": 5}))
    file_of_its_own(tmp_path, "middle", "extends: base\ntitle: middle")
    path = file_of_its_own(tmp_path, "grandchild", "extends: child\ndataset: {test: 3}")
    found = load(path).experiments
    assert (found["child"].title, found["grandchild"].title, found["grandchild"].seed) == ("middle", "middle", 5)
    assert found["grandchild"].dataset.test == 3
    assert load_experiment("grandchild", path) == found["grandchild"]
    assert tuple(entries("experiments", path)) == ("base", "child", "grandchild", "middle")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "extends: base\nfinetune: {lrr: 1}",
            "mine.yaml (extends base): finetune.lrr: unknown key. Did you mean 'lr'?",
        ),
        ("title: x\nsed: 1", "mine.yaml: sed: unknown key. Did you mean 'seed'?"),
        ("extends: bas", "mine.yaml: extends: there is no 'bas'. Did you mean 'base'?"),
        ("extends: mine", "mine.yaml: extends: a circle: mine extends mine."),
        ("- 1", "mine.yaml: expected settings (key: value), found [1]"),
        ("", "mine.yaml: expected settings (key: value), found None"),
        ("a: [", "mine.yaml, line 1, column 5: "),
    ],
)
def test_what_is_wrong_in_a_file_of_its_own_names_the_file_and_stops_no_other(tmp_path, text, expected):
    write(tmp_path, small())
    path = file_of_its_own(tmp_path, "mine", text)
    assert load_experiment("base", path)
    for read in (load, partial(load_experiment, "mine")):
        with pytest.raises(BadInput) as caught:
            read(path)
        assert f"data/experiments/{expected}" in str(caught.value)


def test_an_entry_that_is_written_twice_is_refused_and_both_places_named(tmp_path):
    write(tmp_path, small(mine={"extends": "base"}))
    path = file_of_its_own(tmp_path, "mine", "extends: base")
    assert load_experiment("base", path)
    for read in (load, partial(load_experiment, "mine")):
        with pytest.raises(BadInput, match=r"params\.yaml: experiments\.mine and data/experiments/mine\.yaml have one"):
            read(path)


def test_a_network_to_train_is_a_file_too(tmp_path, raw):
    write(tmp_path, small())
    path = file_of_its_own(tmp_path, "demo/prior", yaml.safe_dump(raw["models"]["demo/prior"]), "data/weights")
    file_of_its_own(tmp_path, "own", "extends: demo/prior\nphotos: {count: 9}", "data/weights")
    assert load_model("own", path).photos.count == 9
    with pytest.raises(BadInput, match=r"models: there is no 'ow'\. Did you mean 'own'\?"):
        load_model("ow", path)


SECTIONS = {
    "seed": "1",
    "dataset.test": "3",
    "degradations.raw_x2_severe.preset": "demo128",
    "prior.weights": "other.pth",
    "restorer.weights": "other.pth",
    "pseudo_targets.factor": "8",
    "finetune.lr": "1e-4",
    "title": "another",
}
OTHERS = {  # the kinds of sections that the demo has not, and one of the settings in each
    "demo_methods": {
        "compare.difface.method.eta": "0.25",
        "compare.gen2res.method.lr": "2e-4",
        "compare.idm_uncleaned.weights": "other.pth",
        "compare.difface.label": "another",
        "cleaning.lr": "2e-4",
        "cleaning.method.steps": "9",
        "authenticity.degradation": "raw_x2_severe",
        "metrics.0": "niqe",
        "dataset.flawed": "0.2",
        "extends": "demo_cleaning",
    },
    "demo_cleaning": {"cleaning.downstream.count": "32", "cleaning.downstream.metrics.0": "fid"},
    "dt_bfr_wider": {"dataset.sets.wider_test_200.expected": "100", "references.official.count": "9"},
    "dt_bfr_codeformer": {
        "means.raw_x8_mean_of_both.0": "raw_x4_severe",
        "pseudo_targets.at.raw_x4_severe.factor": "4",
    },
    "difface_celeba_test": {"compare.difface_srcnn.estimator.arch": "swinir"},
}


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    assert len(before.splitlines()) == len(after.splitlines())
    return [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]


def test_the_settings_are_laid_out_as_dvc_writes_them(tmp_path):
    """So that a changed value is all that differs; and no file of them is long."""
    for file in files():
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 120, file
        path = write(tmp_path, text)
        with modify_yaml(path):
            pass
        assert path.read_text(encoding="utf-8") == text, file


def test_every_kind_of_section_can_be_set(tmp_path):
    """At the level of what `dvc exp run -S` does to a file: one line of it for each value."""
    text = PARAMS_FILE.read_text(encoding="utf-8")
    path = write(tmp_path, text)
    apply_overrides(path, [f"experiments.demo.{key}={value}" for key, value in SECTIONS.items()])
    assert len(changed_lines(text, path.read_text(encoding="utf-8"))) == len(SECTIONS)
    assert load_experiment("demo", path).pseudo_targets.factor == 8
    named = set(SECTIONS)
    for name, changes in OTHERS.items():
        text = (ROOT / EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8")
        path = write(tmp_path, text)
        apply_overrides(path, [f"{key}={value}" for key, value in changes.items()])
        assert len(changed_lines(text, path.read_text(encoding="utf-8"))) == len(changes), name
        named |= set(changes)
    written = {key for entry in all_entries()["experiments"].values() for key in entry}
    assert written - {key.partition(".")[0] for key in named} <= {"methods"}


@pytest.mark.slow
def test_dvc_exp_run_changes_what_it_is_told_and_nothing_else(tmp_path):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.split():
        if name.endswith((".yaml", "/config", "ignore", "followed.json")) and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    others = tmp_path / EXPERIMENTS
    (others / "followed.json").write_text(json.dumps({"followed": list(OTHERS)}))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)

    def queued(project: Path, changes: dict[str, dict[str, str]]) -> dict[str, int]:
        """How many lines of each file an experiment with other values has changed; in the workspace they stay."""
        before = {file: (project / file).read_text(encoding="utf-8") for file in changes}
        words = [f"{file}:{key}={value}" for file, values in changes.items() for key, value in values.items()]
        dvc = [Path(sys.executable).with_name("dvc"), "exp", "run", "--queue"]
        subprocess.run([*dvc, *(f"--set-param={word}" for word in words)], cwd=project, check=True, capture_output=True)
        after = {}
        for file in changes:
            assert (project / file).read_text(encoding="utf-8") == before[file]
            show = ["git", "show", f"refs/exps/celery/stash:{(project / file).relative_to(tmp_path)}"]
            after[file] = subprocess.run(show, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        return {file: len(changed_lines(before[file], after[file])) for file in changes}

    demo = {f"experiments.demo.{key}": value for key, value in SECTIONS.items()}
    assert queued(tmp_path, {"params.yaml": {"experiments.demo.finetune.lr": "1e-4"}}) == {"params.yaml": 1}
    assert queued(tmp_path, {"params.yaml": demo}) == {"params.yaml": len(SECTIONS)}
    changes = {f"{name}.yaml": values for name, values in OTHERS.items()}
    assert queued(others, changes) == {file: len(values) for file, values in changes.items()}
