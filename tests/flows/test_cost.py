"""How long a run will take: what is measured, when, and how it is said."""

import threading
from functools import partial

import pytest
import torch

from flows import cost
from flows.cost import Line, Speed, Timed, table
from tasks.params.experiment import TargetChange
from tasks.params.load import load_experiment
from tasks.running.apart import side_by_side
from tasks.running.interrupts import Stopped, stopped_by
from tests.running.saying import Words, written


def test_a_speed_is_measured_again_when_the_device_is_idle_and_then_remembered(monkeypatch):
    measured, busy = [Speed(4.0, 0.8), Speed(1.0, 0.02)], [True, True, False]
    monkeypatch.setattr(Timed, "_measured", lambda *_: measured.pop(0))
    monkeypatch.setattr(cost, "is_busy", lambda: busy.pop(0))
    timed = Timed("prior", load_experiment("demo"))
    assert [timed.speed.seconds for _ in range(6)] == [4.0, 4.0, 4.0, 1.0, 1.0, 1.0]


def test_a_speed_is_known_by_what_it_depends_on(monkeypatch):
    measured = [Speed(float(number), 0.0) for number in range(9)]
    monkeypatch.setattr(Timed, "_measured", lambda *_: measured.pop(0))
    demo = load_experiment("demo")
    slower = demo.model_copy(update={"finetune": demo.finetune.model_copy(update={"lr": 2e-5})})
    halved = demo.model_copy(update={"pseudo_targets": demo.pseudo_targets.model_copy(update={"bf16": True})})
    found = {
        what: [Timed(what, each).speed.seconds for each in (demo, slower, halved)] for what in ("prior", "restorer")
    }
    assert found == {"prior": [0.0, 0.0, 1.0], "restorer": [2.0, 2.0, 2.0]}


@pytest.mark.parametrize(("busy", "is_busy"), [(80, True), (0, False)])
def test_a_device_is_busy_where_others_are_at_work(monkeypatch, busy, is_busy):
    monkeypatch.setattr(cost.psutil, "cpu_percent", lambda: float(busy))
    monkeypatch.setattr(cost.time, "process_time", lambda: 0.0)  # of this process, which is no other
    monkeypatch.setattr(cost, "LOOK_S", 0.0)
    assert cost.is_busy() == is_busy


def test_a_prior_in_bfloat16_has_a_speed_of_its_own(monkeypatch):
    measured = [Speed(4.0, 0.0), Speed(1.0, 0.0)]
    monkeypatch.setattr(Timed, "_measured", lambda *_: measured.pop(0))
    demo = load_experiment("demo")
    half = demo.model_copy(update={"pseudo_targets": demo.pseudo_targets.model_copy(update={"bf16": True})})
    assert [Timed("prior", experiment).speed.seconds for experiment in (demo, half, demo)] == [4.0, 1.0, 4.0]


def test_the_table_says_when_others_were_at_work():
    lines = [Line("restore", 10, 1, Speed(6.0, 0.01)), Line("prior", 2, 30, Speed(1.0, 0.64))]
    text = table(lines)
    assert "restore: 10 x 1 x 6 s" in text
    assert "about 2 min 0 s of networks" in text
    assert "(rough: measured while other programs took 64% of it" in text
    assert "other programs" not in table(lines[:1])
    assert table([]) == "No network has anything to do: all results are there."


@pytest.mark.parametrize(("busy", "others"), [(100, (0.3, 1.0)), (0, (0.0, 0.0))])
def test_what_others_take_of_the_processors_is_what_is_not_ours(monkeypatch, busy, others):
    monkeypatch.setattr(cost.psutil, "cpu_percent", lambda: float(busy))
    monkeypatch.setattr(cost.psutil, "cpu_count", lambda: 4)
    speed = cost.quickest(lambda: torch.rand(300, 300) @ torch.rand(300, 300), torch.device("cpu"))
    assert others[0] <= speed.others <= others[1]
    assert speed.seconds > 0


def lines_by_name(experiment, monkeypatch):
    return lines_of(load_experiment(experiment), monkeypatch)


def lines_of(experiment, monkeypatch):
    monkeypatch.setattr(Timed, "speed", Speed(1.0, 0.0))
    return {line.what: line for line in cost.lines_of(experiment)}


def test_the_authenticity_check_counts_for_the_methods_that_it_names(monkeypatch):
    base = load_experiment("demo_methods")

    def images(*names):
        check = base.authenticity.model_copy(update={"methods": names})
        lines = lines_of(base.model_copy(update={"authenticity": check}), monkeypatch)
        return {name: line.images for name, line in lines.items()}

    none, again = images(), 2 * base.dataset.counts[0]
    for name, what in {"pretrained": "restore (swinir)", "pseudo_target": "pseudo_targets", "idm": "idm"}.items():
        assert images(name) == none | {what: none[what] + again}


def test_the_authenticity_check_of_pseudo_targets_has_the_settings_of_its_degradation(monkeypatch):
    base = load_experiment("demo_methods")
    part = next(name for name in base.parts if name != base.authenticity.degradation)
    targets = base.pseudo_targets.model_copy(update={"at": {part: TargetChange(start_t=500)}})
    changed = base.model_copy(update={"pseudo_targets": targets})
    monkeypatch.setattr(Timed, "speed", Speed(1.0, 0.0))
    few, many = (
        [line.images for line in cost.lines_of(each) if line.what == "pseudo_targets"] for each in (changed, base)
    )
    assert sum(few) == sum(many)


def test_every_round_of_an_adaptation_counts(monkeypatch):
    once, twice = lines_by_name("demo", monkeypatch), lines_by_name("beyond_rounds", monkeypatch)
    more = {name: twice[name].images - once[name].images for name in once}
    photos = 2 * 64  # of two degradations, to adapt on
    assert more == {"restore (swinir)": photos, "pseudo_targets": photos, "finetune": once["finetune"].images}
    one, two = (cost.adaptation(load_experiment(name), 10) for name in ("demo", "beyond_rounds"))
    assert [line.images for line in two] == [30, 20, 2 * next(line for line in one if line.what == "finetune").images]


def test_photos_to_adapt_on_count_where_something_is_adapted(monkeypatch):
    assert lines_by_name("difface_celeba_test", monkeypatch)["restore (swinir)"].images == 4000
    assert lines_by_name("dt_bfr_swinir", monkeypatch)["restore (swinir)"].images == 4 * (2 * 500 + 2500)
    adapted = lines_by_name("dt_bfr_wider", monkeypatch)
    assert adapted["restore (codeformer)"].images == 2 * 200 + 970
    assert adapted["pseudo_targets"].images == 200 + 970


def test_every_draw_of_a_pseudo_target_counts(monkeypatch):
    once, mean = (lines_by_name(name, monkeypatch)["pseudo_targets"] for name in ("demo", "beyond_samples"))
    assert (mean.images, mean.evaluations) == (once.images, 4 * once.evaluations)


def test_the_targets_of_demo_fast_cost_fewer_evaluations_and_nothing_else_changes(monkeypatch):
    usual, fast = (lines_by_name(name, monkeypatch) for name in ("demo", "demo_fast"))
    few, many = (lines.pop("pseudo_targets") for lines in (fast, usual))
    assert few.images == many.images
    assert few.evaluations < many.evaluations
    assert fast == usual


def test_idm_s_downstream_test_is_the_larger_part_of_what_its_prior_does(monkeypatch):
    lines = lines_by_name("idm", monkeypatch)
    training, drawing = lines["downstream (training)"], lines["downstream (drawing)"]
    assert (training.images, training.evaluations) == (2 * 20000 * 8, cost.BACKWARD)
    assert (drawing.images, drawing.evaluations) == (2 * 5000, 250)


@pytest.mark.parametrize(("what", "side", "shape"), [("prior", 512, (1, 256)), ("restorer", 512, (1, 512))])
def test_on_the_cpu_the_smallest_piece_is_timed_that_says_as_much(monkeypatch, what, side, shape):
    """Eight whole photos were: `bfr adapt --dry-run` gave no answer in 260 s."""
    seen = []
    monkeypatch.setattr(Timed, "_run", lambda self, images, device: seen.append(images.shape))
    monkeypatch.setattr(cost, "quickest", lambda run, device: Speed(1.0, 0.0))
    monkeypatch.setattr(cost, "batch_size", lambda device, side: 16)
    found = Timed(what, load_experiment("demo"))._measured(side)
    assert seen == [(shape[0], 3, shape[1], shape[1])]
    assert found.seconds == (side / shape[1]) ** 2 / shape[0]


def test_what_takes_long_is_run_once(monkeypatch):
    ran, now = [], [0.0]

    def run() -> None:
        ran.append(now[0])
        now[0] += 100.0

    monkeypatch.setattr(cost.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(cost, "share_of_others", lambda device: lambda: 0.0)
    assert cost.quickest(run, torch.device("cpu")) == Speed(100.0, 0.0)
    assert len(ran) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_look_for_what_is_made_side_by_side_speaks_of_no_failure(caplog, count):
    params = [Words(text="neither"), Words(text="is there")]
    assert not cost.is_made(lambda run: side_by_side([partial(run, written, each) for each in params], count))
    assert not caplog.messages


def test_an_estimate_that_is_stopped_runs_no_further(monkeypatch):
    event, ran = threading.Event(), []

    def run() -> None:
        ran.append(1)
        event.set()

    with stopped_by(event), pytest.raises(Stopped):
        cost.quickest(run, torch.device("cpu"))
    assert len(ran) == 1
