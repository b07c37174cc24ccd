"""`--fast` of the commands, of the deployments and on the page: it reaches what does the work."""

from typing import Any

import pytest

from flows import adapt as adapting
from flows import photos, restore, whole_photos
from flows.app import jobs
from flows.app.jobs import Desk
from flows.cli import call
from flows.whole_photos import Options
from tasks.basics import BadInput

WORK = {  # what does it: the module, its function, and whether the photos are whole
    "adapt": [(adapting, "ready_photos", False), (adapting, "ready_crops", True)],
    "restore": [(whole_photos, "restore_photos", False), (restore, "restore", True)],
}
CASES = [(command, *work) for command, each in WORK.items() for work in each]


@pytest.fixture
def asked(monkeypatch) -> dict[str, Any]:
    """What the work was asked for, in place of doing it."""
    heard: dict[str, Any] = {}

    def work(*given: object, **more: object) -> None:
        heard.update(more)
        raise BadInput("enough")

    for _, module, name, _ in CASES:
        monkeypatch.setattr(module, name, work)
    for name in ("restore_photos", "adapt_photos"):
        monkeypatch.setattr(jobs, name, work)
    return heard


def is_fast(heard: dict[str, Any]) -> bool:
    return heard["changes"].is_fast if "changes" in heard else heard["is_fast"]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(("command", "module", "name", "is_aligned"), CASES)
def test_commands_and_deployments_hand_it_on(asked, tmp_path, command, module, name, is_aligned, fast):
    words = [command, "folder", *["--aligned"] * is_aligned, *["--fast"] * fast]
    assert call(words) == 1
    assert is_fast(asked) == fast
    asked.clear()
    with pytest.raises(BadInput, match="enough"):
        getattr(photos, command).fn(str(tmp_path), aligned=is_aligned, fast=fast)
    assert is_fast(asked) == fast


@pytest.mark.parametrize("fast", [False, True])
def test_the_page_s_jobs_hand_it_on(asked, tmp_path, fast):
    desk, photo = Desk(tmp_path / "desk"), tmp_path / "a.png"
    photo.touch()
    works = (
        lambda: jobs.restore_one(desk, photo, "difface", Options(), None, fast, print),
        lambda: jobs.restore_many(desk, [photo], "difface", Options(), None, fast, print),
        lambda: jobs.adapt_to(desk, [photo], [], "demo", fast, print),
    )
    for work in works:
        asked.clear()
        with pytest.raises(BadInput, match="enough"):
            work()
        assert is_fast(asked) == fast


def test_the_page_offers_it_for_methods_that_have_it():
    assert [name for name in whole_photos.METHODS if jobs.has_fast(name)] == ["difface", "pseudo_target"]
