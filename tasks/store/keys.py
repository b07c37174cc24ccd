"""Content keys: digests of parameters, inputs and the code that computes."""

import ast
import hashlib
import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tasks.basics import ROOT


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


@cache
def code_digest(module: str) -> str:
    """Digest of a module of this project and of all project modules that it imports, directly or not.

    Comments, docstrings, layout and imports for type checkers alone do not count, so editing them reruns nothing.
    """
    sources: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _module_path(name)
        if name in sources or path is None:
            continue
        tree = _parsed(path.read_text(encoding="utf-8"))
        waiting += _project_imports(tree)
        sources[name] = ast.dump(_without_docstrings(tree))
    return digest(sources)


def _parsed(text: str) -> ast.Module:
    """Python 3.11 counts the depth of a parse for all threads together, and so fails when two of them parse at once."""
    for _ in range(20):
        try:
            return ast.parse(text)
        except SystemError:
            time.sleep(0.05)
    return ast.parse(text)


def _module_path(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


def _project_imports(tree: ast.Module) -> Iterator[str]:
    for node in _running_code(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.startswith("tasks."):
                parts = name.split(".")
                yield from (".".join(parts[: n + 1]) for n in range(1, len(parts)))


def _running_code(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node`, but for `if TYPE_CHECKING:` blocks."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _running_code(child)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree
