"""Content keys: what counts as the code of a stage, and what does not."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from pydantic import Field

from tasks.basics import PickedFrom, Strict
from tasks.store import keys
from tasks.store.keys import clear_caches, code_digest, code_of, digest


def test_digests_do_not_depend_on_the_order_of_a_mapping():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert digest([1, 2]) != digest([2, 1])


class Nothing(Strict):
    """Settings that pick nothing."""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A tiny project: write(**files) returns the code digest of its stage, tasks/main.py."""
    (tmp_path / "tasks").mkdir()
    monkeypatch.setattr(keys, "ROOT", tmp_path)
    monkeypatch.setattr(keys, "ALWAYS", ())

    def write(params: Strict | None = None, **files: str) -> str:
        for name, text in files.items():
            place = tmp_path / "tasks" / (name.replace("__", "/") + ".py")
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
        clear_caches()
        return code_digest("tasks.main", params or Nothing())

    yield write
    clear_caches()


MAIN = "from tasks import helper\nimport os\ndef f():\n    return helper.g()\n"


def test_the_code_digest_follows_imports_and_ignores_words(project):
    first = project(main=MAIN, helper="def g():\n    return 1\n", other="x = 1\n")
    assert project(helper='"""Words."""\ndef g():\n    "More words."\n    return (1)  # and more\n') == first
    assert project(other="x = 2\n") == first
    assert project(helper="def g():\n    return 2\n") != first


def test_an_import_for_the_type_checker_does_not_count(project):
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tasks.other import P\n"
    first = project(main=typed, other="x = 1\n")
    assert project(other="x = 2\n") == first
    ran = typed + "if True:\n    from tasks.other import P\n"
    assert project(main=ran) != project(other="x = 3\n")


def test_machinery_does_not_count_nor_what_it_imports(project):
    main = "from tasks.running import shards\nfrom tasks.training import curves, loop\n"
    first = project(main=main, running__shards="from tasks import other\n", other="x = 1\n", training__loop="x = 1\n")
    assert (
        project(running__shards="from tasks import other\nx = 2\n", other="x = 2\n", training__curves="x = 2") == first
    )
    assert project(training__loop="x = 2\n") != first


@dataclass(frozen=True)
class Entry:
    """An entry of a table whose code is elsewhere."""

    value: int
    code: tuple[str, ...]

    @property
    def constants(self) -> int:
        return self.value


TABLE = {"one": Entry(1, ("tasks.one",)), "two": Entry(2, ("tasks.two",))}


class Inner(Strict):
    names: tuple[Annotated[str, PickedFrom(TABLE, lambda name: name.partition("@")[0])], ...] = ()


class Picks(Strict):
    name: Annotated[str, PickedFrom(TABLE)] | None = None
    inner: Inner | None = None
    by_key: dict[str, Inner] = Field(default_factory=dict)


PICKED = [
    Picks(name="one"),
    Picks(inner=Inner(names=("one@here",))),
    Picks(by_key={"a": Inner(names=("one",))}),
]


@pytest.mark.parametrize("params", PICKED, ids=("name", "inner", "in a mapping"))
def test_of_a_table_only_the_entries_that_the_settings_pick_count(project, params, monkeypatch):
    table = "from tasks import one, two\n"
    files = {"main": "from tasks.methods import table\n", "methods__table": table, "one": "x = 1\n", "two": "x = 1\n"}
    first = project(params, **files)
    assert code_of("tasks.main", params) == ["tasks.main", "tasks.one"]
    assert project(params, two="x = 2\n", methods__table=table + "y = 2\n") == first
    monkeypatch.setitem(TABLE, "two", Entry(3, ("tasks.two",)))
    assert project(params) == first
    assert project(params, one="x = 2\n") != first
    project(params, one="x = 1\n")
    monkeypatch.setitem(TABLE, "one", Entry(3, ("tasks.one",)))
    assert project(params) != first


def test_package_data_that_a_module_names_counts_and_what_that_names_in_turn(project, tmp_path):
    page = tmp_path / "tasks" / "page.html.j2"
    style, other = tmp_path / "tasks" / "page.css", tmp_path / "tasks" / "other.css"
    page.write_text('{% include "page.css" %}')
    style.write_text("a { color: red }")
    other.write_text("")
    first = project(main='def f():\n    return render("page.html.j2")\n')
    other.write_text("b { color: red }")
    assert project() == first
    style.write_text("a { color: blue }")
    second = project()
    assert second != first
    page.write_text('{% include "page.css" %} ')
    assert project() not in (first, second)


def test_the_versions_of_numeric_packages_count_and_how_they_were_built_does_not(project, monkeypatch):
    installed = {"torch": "2.15.0+cpu", "lpips": "0.1.4"}
    monkeypatch.setattr(keys, "version", installed.__getitem__)
    keys._version.cache_clear()
    first = project(main="import torch.nn as nn\n")
    for change, is_same in (({"torch": "2.15.0+cu130"}, True), ({"lpips": "0.2"}, True), ({"torch": "2.16.0"}, False)):
        installed |= change
        keys._version.cache_clear()
        assert (project() == first) == is_same
    keys._version.cache_clear()
