"""Results that can be cited: evaluation survives kills, reference sets have names, runs compare, votes count."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pytorch_fid.fid_score import calculate_frechet_distance, compute_statistics_of_path
from scipy.stats import binomtest

from flows.steps import STEPS
from flows.workspace import Workspace
from tasks.basics import BadInput
from tasks.data.ingest import PhotoFolder
from tasks.metrics import perceptual
from tasks.params.experiment import Experiment
from tasks.params.load import load
from tasks.report.difference import write_difference
from tasks.report.voting import tally, tally_markdown, write_ballot
from tasks.running.stage import default_store, stage
from tasks.stages import evaluate as evaluate_module
from tasks.stages.evaluate import EvaluateParams, evaluate, measure
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.reference import ReferenceParams, reference
from tasks.store.artifact import ImageFolder, Manifest
from tasks.store.files import write_png
from tasks.store.md5 import dvc_digest

METRICS = ("psnr", "sharpness", "fid_seeded", "recall_seeded", "kid_seeded")


@pytest.fixture
def photos(tmp_path):
    """photos(name, noise): a folder of eight 64 x 64 photos with noise."""

    def make(name: str, noise: float = 0.0) -> ImageFolder:
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(5)
        for n in range(8):
            face = rng.uniform(40, 200, (8, 8, 3)).repeat(8, 0).repeat(8, 1)
            image = face + noise * np.random.default_rng(n).normal(size=face.shape)
            write_png(folder / f"{n}.png", image.clip(0, 255).astype(np.uint8))
        return ingest(IngestParams(size=64, fit="crop"), folder=PhotoFolder(folder))

    return make


@stage
def keep(out: Path, params: EvaluateParams, record: Manifest, images: ImageFolder) -> None:
    """A folder of the first five photos."""
    for image_id in images.ids[:5]:
        write_png(out / f"{image_id}.png", images.read(image_id))


def evaluated(images: ImageFolder, hq: ImageFolder) -> ImageFolder:
    described = reference(
        ReferenceParams(label="ground truth", metrics=("fid_seeded", "recall_seeded", "kid_seeded")), images=hq
    )
    return evaluate(EvaluateParams(metrics=METRICS), images=images, hq=hq, default=described)


def test_a_killed_evaluation_goes_on_and_says_the_same(photos, monkeypatch):
    images, hq = photos("noisy", 20), photos("clean")
    whole = evaluated(images, hq)
    expected = {name: whole.path(name).read_bytes() for name in whole.manifest.files}

    monkeypatch.setattr(evaluate_module, "SHARD", 3)
    measure, measured = evaluate_module.measure_shard, []

    def killed_at(count):
        def call(folders, methods, hq, ids, scorers, device):
            if len(measured) == count:
                raise KeyboardInterrupt
            measured.append(ids)
            measure(folders, methods, hq, ids, scorers, device)

        return call

    for folder in default_store().root.glob("evaluate*"):
        folder.rename(folder.with_name(f"old_{folder.name}"))
    monkeypatch.setattr(evaluate_module, "measure_shard", killed_at(2))
    with pytest.raises(KeyboardInterrupt):
        evaluated(images, hq)
    monkeypatch.setattr(evaluate_module, "measure_shard", killed_at(-1))
    again = evaluated(images, hq)
    assert measured == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"]]  # none twice
    table, truth = (pd.read_parquet(each.path("scores.parquet")) for each in (again, whole))
    order = ["metric", "image_id"]
    pd.testing.assert_frame_equal(
        table.sort_values(order, ignore_index=True), truth.sort_values(order, ignore_index=True), rtol=1e-6
    )
    for name in ("absent.json", "references.json"):
        assert again.path(name).read_bytes() == expected[name]
    texts = again.path("set_scores.json").read_text(), expected["set_scores.json"]
    scores, truth = ({name: score["value"] for name, score in json.loads(text).items()} for text in texts)
    assert scores.keys() == {"fid_seeded", "recall_seeded", "kid_seeded"}
    assert scores == pytest.approx(truth, rel=1e-4)


def test_several_methods_are_measured_together_as_each_alone(photos, monkeypatch):
    """The networks see each original once, and `evaluate` finds its shards, equal to those that it makes by itself."""
    metrics = ("psnr", "lpips_seeded", "fid_seeded")
    hq, methods = photos("clean"), {f"images/{noise}": photos(f"noisy_{noise}", noise) for noise in (10, 20, 30)}
    params, seen = EvaluateParams(metrics=metrics), []
    features = perceptual._features
    monkeypatch.setattr(perceptual, "_features", lambda network, images: seen.append(1) or features(network, images))

    def scores() -> dict[str, bytes]:
        described = reference(ReferenceParams(label="ground truth", metrics=("fid_seeded",)), images=hq)
        made = {name: evaluate(params, images=images, hq=hq, default=described) for name, images in methods.items()}
        files = [(name, file) for name, result in made.items() for file in result.manifest.files]
        return {f"{name}/{file}": made[name].path(file).read_bytes() for name, file in files}

    alone = scores()
    assert len(seen) == 6
    for folder in default_store().root.glob("evaluate*"):
        folder.rename(folder.with_name(f"old_{folder.name}"))
    seen.clear()
    measure(params, hq=hq, **methods)
    assert len(seen) == 4
    assert len(list(default_store().root.glob("evaluate.shard/*"))) == 3
    assert scores() == alone
    assert len(seen) == 4
    assert len(list(default_store().root.glob("evaluate.shard/*"))) == 3


def test_a_method_without_some_photos_is_measured_too(photos):
    hq, whole, other = photos("clean"), photos("noisy", 10), photos("few", 20)
    params = EvaluateParams(metrics=("psnr",))
    few = keep(params, images=other)
    measure(params, hq=hq, whole=whole, few=few)
    table = pd.read_parquet(evaluate(params, images=few, hq=hq).path("scores.parquet"))
    assert list(table["image_id"]) == other.ids[:5]
    assert len(list(default_store().root.glob("evaluate.shard/*"))) == 2


def test_a_reference_set_has_a_name_a_count_and_a_digest_and_pytorch_fid_reads_it(photos):
    hq, other = photos("clean"), photos("noisy", 20)
    sets = {
        name: reference(ReferenceParams(label=label, metrics=("fid_seeded",)), images=images)
        for name, label, images in (("default", "ground truth", hq), ("mine", "My album", other))
    }
    scores = evaluate(EvaluateParams(metrics=("fid_seeded", "fid_seeded@mine", "psnr")), images=other, hq=hq, **sets)
    compared = json.loads(scores.path("references.json").read_text())
    assert {name: (card["label"], card["count"]) for name, card in compared.items()} == {
        "fid_seeded": ("ground truth", 8),
        "fid_seeded@mine": ("My album", 8),
    }
    assert compared["fid_seeded"]["digest"] != compared["fid_seeded@mine"]["digest"]
    values = json.loads(scores.path("set_scores.json").read_text())
    assert values["fid_seeded@mine"]["value"] == pytest.approx(0, abs=1e-4)
    files = [str(folder.path("fid_seeded.npz")) for folder in sets.values()]
    statistics = [compute_statistics_of_path(file, None, 1, 2048, "cpu") for file in files]
    assert values["fid_seeded"]["value"] == pytest.approx(
        calculate_frechet_distance(*statistics[0], *statistics[1]), abs=1e-4
    )


def test_statistics_of_pytorch_fid_are_a_reference_set(tmp_path, photos):
    path = tmp_path / "ffhq.npz"
    np.savez(path, mu=np.zeros(2048), sigma=np.eye(2048))
    params = ReferenceParams(label="FFHQ-70k", metrics=("fid", "precision", "kid", "fid_seeded"), count=70_000)
    described = reference(params, statistics=path)
    card = json.loads(described.path("card.json").read_text())
    assert (card["label"], card["count"]) == ("FFHQ-70k", 70_000)
    reason = "FFHQ-70k is known by its FID statistics alone"
    assert json.loads(described.path("absent.json").read_text()) == dict.fromkeys(
        ("precision", "kid", "fid_seeded"), reason
    )
    np.savez(path, mean=np.zeros(4))
    with pytest.raises(BadInput, match=r"ffhq\.npz cannot be read as pytorch-fid's statistics"):
        reference(params, statistics=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["fid@ffqh"], "references": {"ffhq": {"label": "x", "images": "x"}}}, "Did you mean 'ffhq'"),
        ({"metrics": ["psnr@real"]}, "only a metric of whole sets"),
        ({"metrics": ["fid@"]}, "only a metric of whole sets"),
        ({"metrics": ["fid@default"]}, "only a metric of whole sets"),
        ({"references": {"real": {"label": "x", "images": "x"}}}, "is none of real, default"),
        ({"references": {"a": {"label": "x"}}}, "give either `images` or `statistics`"),
        ({"references": {"a": {"label": "x", "statistics": "x"}}}, "how many images"),
    ],
)
def test_wrong_reference_sets_are_refused(change, message):
    demo = load().experiments["demo"].model_dump(mode="json")
    with pytest.raises(ValueError, match=message):
        Experiment.model_validate(demo | change)


@pytest.fixture
def two_runs(tmp_path):
    """The folders of a tiny experiment, run with two settings."""
    demo = load().experiments["demo"].model_dump(mode="json")
    tiny = demo | {
        "dataset": {"kind": "heads", "size": 64, "finetune": 2, "test": 4, "real": 4},
        "degradations": {"noise": {"preset": "raw_x2_severe"}},
        "metrics": ["psnr", "sharpness", "fid_seeded", "fid_seeded@real"],
        "methods": ["lq", "pretrained", "pseudo_target"],
        "claims": [],
    }
    folders = []
    for name, start in (("old", 300), ("new", 500)):
        settings = tiny | {"pseudo_targets": {"respacing": "10", "start_t": start, "stop_t": 100, "factor": 4}}
        work = Workspace(tmp_path / name)
        for step in STEPS.values():
            step(Experiment.model_validate(settings), work)
        folders.append(work.root)
    return folders


def test_two_runs_are_compared_photo_by_photo(two_runs, tmp_path, monkeypatch):
    old, new = two_runs
    write_difference(old, new, tmp_path / "difference.html")
    page = (tmp_path / "difference.html").read_text(encoding="utf-8")
    assert "pseudo_targets.start_t" in page
    assert "pseudo_targets.stop_t" not in page  # equal
    scores = [pd.read_parquet(folder / "report" / "scores.parquet") for folder in (old, new)]
    values = [s.query("method == 'pseudo_target' and metric == 'psnr'").set_index("image_id")["value"] for s in scores]
    assert f"{(values[1] - values[0]).mean():+.2f}".replace("-", "−") in page
    assert page.count("data:image/png;base64,") >= 3
    with pytest.raises(BadInput, match="has no report that can be read"):
        write_difference(old / "photos", new, tmp_path / "x.html")

    origins = json.loads((new / "report" / "origins.json").read_text())
    target = next(origin for origin in origins if origin["method"] == "pseudo_target")
    assert target["params"]["settings"]["start_t"] == 500
    images = ImageFolder(new / target["images"])
    assert target["facts"]["contents (SHA-256)"] == images.digest
    assert target["facts"]["DVC"] == dvc_digest(new / "pseudo_targets", default_store())
    text = (new / "report" / "results.md").read_text(encoding="utf-8")
    assert "FID (seeded) to rendered heads ↓ (4 images, " in text
    assert target["facts"]["commit"] in text

    data = tmp_path / "data"
    (data / "experiments").mkdir(parents=True)
    new.rename(data / "demo")
    monkeypatch.setattr("tasks.report.index.ROOT", tmp_path)
    from tasks.report.index import write_index

    index = write_index(tmp_path / "results").read_text(encoding="utf-8")
    assert "| [demo](demo.md) | noise | 4 | PSNR (dB) |" in index
    assert (tmp_path / "results" / "demo.csv").exists()


def test_votes_become_rates_with_intervals(photos, tmp_path):
    folders = {name: photos(name, noise).root for name, noise in (("a", 0), ("b", 10), ("c", 20))}
    write_ballot(folders, tmp_path / "vote", trials=24, seed=3)
    key = json.loads((tmp_path / "vote" / "key.json").read_text())
    pairs = {(trial["photo"], *sorted((trial["left"], trial["right"]))) for trial in key["trials"]}
    assert len(pairs) == len(key["trials"]) == 24  # 8 photos, 3 pairs, none twice
    assert {trial["left"] for trial in key["trials"]} == {"a", "b", "c"}

    def ballot(name, choose):
        votes = {str(n): choose(trial) for n, trial in enumerate(key["trials"])}
        (tmp_path / name).write_text(json.dumps({"ballot": key["ballot"], "votes": votes}))
        return tmp_path / name

    fond_of_a = ballot("1.json", lambda t: "left" if t["left"] == "a" else "right" if t["right"] == "a" else "neither")
    left = ballot("2.json", lambda t: "left")
    found = {(each.method, each.other): each for each in tally(tmp_path / "vote" / "key.json", [fond_of_a, left])}
    ab = found["a", "b"]
    asked = [t for t in key["trials"] if {t["left"], t["right"]} == {"a", "b"}]
    wins = len(asked) + sum(t["left"] == "a" for t in asked)
    assert (ab.wins, ab.wins + ab.losses) == (wins, 2 * len(asked))
    test = binomtest(wins, 2 * len(asked))
    assert (ab.low, ab.high) == pytest.approx(tuple(test.proportion_ci(method="wilson")))
    assert ab.p == pytest.approx(test.pvalue)
    assert found["b", "c"].undecided == 8
    assert "| a | b |" in tally_markdown(list(found.values()))

    other = tmp_path / "3.json"
    other.write_text(json.dumps({"ballot": "x", "votes": {}}))
    with pytest.raises(BadInput, match="another ballot"):
        tally(tmp_path / "vote" / "key.json", [other])
    other.write_text(json.dumps({"ballot": key["ballot"], "votes": {"99": "left"}}))
    with pytest.raises(BadInput, match="votes: expected"):
        tally(tmp_path / "vote" / "key.json", [other])
    with pytest.raises(BadInput, match="would count twice"):
        tally(tmp_path / "vote" / "key.json", [left, tmp_path / "vote" / ".." / "2.json"])
    for trials in (None, [{"left": "a"}], ["a"]):
        other.write_text(json.dumps({"ballot": key["ballot"], "trials": trials}))
        with pytest.raises(BadInput, match="trials: expected pairs"):
            tally(other, [left])
