"""Prefect's tasks around the stages: what they are called, and that showing progress costs no work."""

import httpx
import pytest

from tasks import nodes
from tasks.running.progress import track


@pytest.mark.parametrize(
    ("stage", "at", "name"),
    [
        (nodes.pseudo_targets, "pseudo_targets/raw_x4_severe/test", "pseudo_targets raw_x4_severe/test"),
        (nodes.restore, "compared/raw_x4_severe/difface", "restore compared/raw_x4_severe/difface"),
        (nodes.restore, "restored/raw_x4_severe/test", "restore raw_x4_severe/test"),
        (nodes.degrade, "lq/raw_x4_severe/test", "degrade raw_x4_severe/test"),
        (nodes.finetune, "adapted_models/raw_x4_severe", "finetune raw_x4_severe"),
        (nodes.evaluate, "scores/raw_x4_severe/adapted", "evaluate raw_x4_severe/adapted"),
        (nodes.reference, "references/default", "reference default"),
        (nodes.train, "cleaning/first", "train cleaning/first"),
        (nodes.report, "report", "report"),
        (nodes.train, "", "train"),
    ],
)
def test_a_task_run_is_named_by_stage_and_place(stage, at, name):
    assert nodes.named_by(stage, at) == name


def test_a_server_that_is_away_while_progress_is_told_stops_no_task(monkeypatch):
    asked = []

    def away(*_: object, **__: object) -> None:
        asked.append(1)
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(nodes, "create_progress_artifact", away)
    monkeypatch.setattr(nodes, "TELL_EVERY_S", 0.0)
    with nodes._progress_artifact("restore"):
        assert list(track([1, 2, 3], "restore")) == [1, 2, 3]
    assert len(asked) == 3
