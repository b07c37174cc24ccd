"""Content keys: digests of parameters, inputs and the code that computes.

The code of a stage is what computes pixels or numbers: its own module, the modules of its settings' classes, what the
names in its settings are registered for (`PickedFrom`), and all project modules that these import. The walk stops at
tables, which hold one entry beside the other, and at machinery, which moves results but does not make them; what
machinery must keep is covered by tests and by FORMAT. Package data that a module names, and the versions of the numeric
packages that it imports, are part of its code.
"""

import ast
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from tasks.basics import ROOT, PickedFrom

FORMAT = 2  # of results; raise it when machinery changes what a result holds
ALWAYS = ("tasks.pixels",)  # every image goes through it
MACHINERY = (
    "tasks.basics",
    "tasks.methods.respacing",
    "tasks.nodes",
    "tasks.params",
    "tasks.running",
    "tasks.store",
    "tasks.training.card",
    "tasks.training.curves",
    "tasks.training.session",
    "tasks.weights.checkpoint",
    "tasks.weights.fetch",
    "tasks.weights.file",
    "tasks.weights.official",
)
TABLES = (
    "tasks.data.datasets",
    "tasks.degradation.presets",
    "tasks.diffusion.priors",
    "tasks.methods.table",
    "tasks.metrics.registry",
    "tasks.models.networks",
    "tasks.models.table",
    "tasks.restorers.network",
    "tasks.training.recipes",
)
PACKAGES = {
    "cv2": "opencv-python-headless",
    "lpips": "lpips",
    "numba": "numba",
    "pi_heif": "pi-heif",
    "pyiqa": "pyiqa",
    "pytorch_fid": "pytorch-fid",
    "spandrel": "spandrel",
    "spandrel_extra_arches": "spandrel_extra_arches",
    "torch": "torch",
    "torchvision": "torchvision",
}
"""Import names and distributions of the packages whose versions are part of the code."""


def digest(value: Any) -> str:
    """64 hex digits of a JSON-like value; mapping order does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def contents_digest(path: Path) -> str:
    """`file_digest`, taken again only if the file's size or time has changed."""
    status = path.stat()
    return _digest_of_version(path, status.st_mtime_ns, status.st_size)


@cache
def _digest_of_version(path: Path, mtime_ns: int, size: int) -> str:
    return file_digest(path)


# The code of a stage, its settings included.


def code_digest(stage: str, params: BaseModel) -> str:
    """Digest of the code that a stage (its module) runs for these settings, with the constants that they name.

    Comments, docstrings, layout and imports for type checkers alone do not count, so editing them reruns nothing.
    """
    constants = [constants_of(entry) for entry in entries_of(params)]
    return digest([{name: module_digest(name) for name in code_of(stage, params)}, constants])


def code_of(stage: str, params: BaseModel) -> list[str]:
    """The modules that a stage runs for these settings, sorted."""
    roots = {*ALWAYS, stage, *settings_modules(params)}
    for entry in entries_of(params):
        roots.update(modules_of(entry))
    return sorted(set().union(*map(closure, roots)))


def settings_modules(value: Any) -> Iterator[str]:
    """The modules that define the classes of settings, those inside others included: an algorithm lies beside them."""
    if isinstance(value, BaseModel):
        yield type(value).__module__
        for name in type(value).model_fields:
            yield from settings_modules(getattr(value, name))
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from settings_modules(item)


def entries_of(params: BaseModel) -> Iterator[Any]:
    """What the names in settings are registered for, in order."""
    for name, field in type(params).model_fields.items():
        annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        yield from _entries(annotation, getattr(params, name))


def _entries(annotation: Any, value: Any) -> Iterator[Any]:
    if isinstance(value, BaseModel):
        yield from entries_of(value)
    elif get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        yield from (mark.table[mark.key(value)] for mark in marks if isinstance(mark, PickedFrom) and value is not None)
        yield from _entries(inner, value)
    elif get_origin(annotation) in (Union, UnionType):
        yield from (entry for form in get_args(annotation) for entry in _entries(form, value))
    elif isinstance(value, dict | tuple) and get_args(annotation):
        *_, of_items = (form for form in get_args(annotation) if form is not Ellipsis)
        items = value.values() if isinstance(value, dict) else value
        yield from (entry for item in items for entry in _entries(of_items, item))


def modules_of(entry: Any) -> tuple[str, ...]:
    """Where a registered entry's code is: what it says itself (`code`), else the module of the function or class."""
    if hasattr(entry, "code"):
        return tuple(entry.code)
    return (entry.__module__ if callable(entry) else type(entry).__module__,)


def constants_of(entry: Any) -> Any:
    """What a registered entry says beside its code: `constants`, else the fields of a dataclass."""
    if hasattr(entry, "constants"):
        return entry.constants
    return repr(dataclasses.asdict(entry)) if dataclasses.is_dataclass(entry) and not isinstance(entry, type) else None


# Modules.


@cache
def closure(module: str) -> frozenset[str]:
    """A module of this project and all that it imports, directly or not, up to tables and machinery."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and not _is_left_out(name) and _path(name) is not None:
            found.add(name)
            waiting += _imports(name)
    return frozenset(found)


@cache
def module_digest(module: str) -> str:
    """Digest of a module's code, the package data that it names and the versions of the packages that it imports."""
    code = _read(module)
    packages = {name.split(".")[0] for name in code.imported} & PACKAGES.keys()
    data = {path.name: file_digest(path) for path in data_of(module)}
    return digest([code.dump, data, {name: _version(name) for name in sorted(packages)}])


def data_of(module: str) -> list[Path]:
    """Package data beside a module that its text names, and what such a file names in turn."""
    beside = _data_in(ROOT.joinpath(*module.split(".")).parent)
    waiting = [name for name in beside if name in _read(module).texts]
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        found[name] = beside[name]
        text = beside[name].read_bytes()
        waiting += [other for other in beside if other not in found and other.encode() in text]
    return [found[name] for name in sorted(found)]


@cache
def _data_in(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir() if path.suffix != ".py" and path.is_file()}


def _is_left_out(name: str) -> bool:
    return name in TABLES or any(name == part or name.startswith(f"{part}.") for part in MACHINERY)


def _path(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def _imports(module: str) -> Iterator[str]:
    return (name for name in _read(module).imported if name.startswith("tasks."))


class _Code(NamedTuple):
    """What a module imports where it runs, its texts, and all but its docstrings."""

    imported: tuple[str, ...]
    texts: frozenset[str]
    dump: str


@cache
def _read(module: str) -> _Code:
    tree = _parsed(module)
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return _Code(tuple(_imported(tree)), frozenset(texts), ast.dump(_without_docstrings(tree)))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in _running_code(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def _running_code(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node`, but for `if TYPE_CHECKING:` blocks."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _running_code(child)


def _parsed(module: str) -> ast.Module:
    """Python 3.11 counts the depth of a parse for all threads together, and so fails when two of them parse at once."""
    text = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    for _ in range(20):
        try:
            return ast.parse(text)
        except SystemError:
            time.sleep(0.05)
    return ast.parse(text)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


@cache
def _version(package: str) -> str:
    """The public version of an installed package: how it was built (+cpu, +cu130) does not count."""
    try:
        return version(PACKAGES[package]).partition("+")[0]
    except PackageNotFoundError:
        return ""


def clear_caches() -> None:
    """Forget what was read of the code: for tests that edit it."""
    for cached in (closure, module_digest, _read, _data_in):
        cached.cache_clear()
