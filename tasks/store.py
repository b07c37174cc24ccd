"""Where results live: image folders with manifests, content keys, and a store that never holds a half-written result.

A result ("artefact") is one folder. Its key is the digest of what it is made from: the stage, its parameters, the
contents of its inputs and the code that the stage uses. It is built in a temporary folder under a lock and renamed
into place, so a killed run leaves nothing broken, two runs at once build it once, and going back to old parameters
costs nothing. Long stages build their result shard by shard in the same way. The lock is an flock: the kernel frees
it when its process dies.
"""

import ast
import csv
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from torch import Tensor

from tasks.provenance import circumstances

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "data" / "weights"  # official files go here; metric weights too, laid out as TORCH_HOME
MANIFEST = "manifest.json"
QUARANTINE = "quarantine.csv"


class BadInput(ValueError):
    """Something that the user gave us cannot be used; the message names it, what was expected and what to do."""


class Quarantined(NamedTuple):
    """A file that was set aside, and why."""

    file: str
    reason: str


# ------------------------------------------------------------------------------------------------- images


def to_tensor(image: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] to float32 [3, H, W] in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1).float().div_(255)


def to_uint8(image: Tensor) -> np.ndarray:
    """float [3, H, W] in [0, 1] to uint8 [H, W, 3]: clamped, rounded half to even."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())


def read_png(path: Path) -> np.ndarray:
    """uint8 RGB [H, W, 3] of an image that this project wrote. Raises BadInput with the file's name."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read as an image ({error}). Delete its folder and rerun.") from error


def write_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 RGB [H, W, 3] under a temporary name, then rename: readers never see half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    Image.fromarray(image).save(temporary, format="PNG", compress_level=4)
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON (sorted keys, so equal values give equal bytes) under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises OSError or ValueError where that is not so."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_quarantine(folder: Path, quarantine: Sequence[Quarantined]) -> None:
    """quarantine.csv (file, reason), also when empty: no file would not mean that all went well."""
    with (folder / QUARANTINE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Quarantined._fields, *quarantine])


def read_quarantine(folder: Path) -> list[Quarantined]:
    """Rows of quarantine.csv; none where the folder has no such file."""
    path = folder / QUARANTINE
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Quarantined(row["file"], row["reason"]) for row in csv.DictReader(file)]


# ---------------------------------------------------------------------------------------------- manifests


class Strict(BaseModel):
    """Base of every typed record: unknown keys are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(Strict):
    """One file of an artefact."""

    sha256: str
    bytes: int


def _inside(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise ValueError(f"{name!r} leads out of the folder")
    return name


FileName = Annotated[str, AfterValidator(_inside)]


class Manifest(Strict):
    """What a folder holds and what made it. It has no dates, so equal work gives equal bytes."""

    stage: str
    key: str
    params: Any
    inputs: dict[str, str]
    code: str
    generator: str | None = None
    files: dict[FileName, FileRecord]

    @property
    def digest(self) -> str:
        """Digest of the contents alone: two stages that write the same files are the same input to the next."""
        return digest({name: record.sha256 for name, record in self.files.items()})


class Artifact:
    """A finished folder with a manifest.

    root: the folder. Raises BadInput if it has no readable manifest.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        try:
            self.manifest = Manifest.model_validate_json((self.root / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadInput(
                f"{self.root} is not a finished result (it has no {MANIFEST}). Run the stage that makes it first."
            ) from error
        except ValidationError as error:
            raise BadInput(f"{self.root / MANIFEST} is damaged: {error}. Delete the folder and rerun.") from error

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def path(self, name: str) -> Path:
        """Path of one file of the artefact. Raises BadInput if the manifest does not list it."""
        if name not in self.manifest.files:
            raise BadInput(f"{self.root} holds no {name!r}; it holds {', '.join(list(self.manifest.files)[:8])} …")
        return self.root / name

    @property
    def quarantine(self) -> list[Quarantined]:
        return read_quarantine(self.root)


class ImageFolder(Artifact):
    """An artefact of PNGs (uint8 RGB), one per image id."""

    @cached_property
    def ids(self) -> list[str]:
        """Image ids, sorted."""
        return sorted(name.removesuffix(".png") for name in self.manifest.files if name.endswith(".png"))

    def read(self, image_id: str) -> np.ndarray:
        """uint8 [H, W, 3]."""
        return read_png(self.path(f"{image_id}.png"))

    def batch(self, ids: Sequence[str]) -> Tensor:
        """float32 [N, 3, H, W] in [0, 1]. Raises BadInput if the images differ in size."""
        images = [self.read(image_id) for image_id in ids]
        if len({image.shape for image in images}) > 1:
            sizes = {image_id: image.shape[:2] for image_id, image in zip(ids, images, strict=True)}
            raise BadInput(f"{self.root}: images of one batch must have one size, found {sizes}. Set dataset.size.")
        return torch.stack([to_tensor(image) for image in images])

    @cached_property
    def side(self) -> int:
        """The longer side of the first image, in pixels."""
        height, width, _ = self.read(self.ids[0]).shape
        return max(int(height), int(width))

    def sha256(self, image_id: str) -> str:
        return self.manifest.files[f"{image_id}.png"].sha256


# --------------------------------------------------------------------------------------------------- keys


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


# -------------------------------------------------------------------------------------------------- store


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive flock on `path` (made if absent), freed when the process dies; yields whether it is held.

    Waits for another holder, or with wait=False yields False at once. Another user's lock file will do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


REUSED: ContextVar[float] = ContextVar("REUSED", default=0.0)
"""Seconds that once went into the parts which the build under way took from the store."""


class Store:
    """Content-addressed folders: `root/<stage>/<key>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether the artefact is there, with all its files in their full size."""
        return is_whole(self.path(stage, key))

    def build(self, record: Manifest, make: Callable[[Path], None], *, is_shared: bool = False) -> Path:
        """Folder of the artefact `record` describes; `make(folder)` fills it if it is not there yet.

        At most one process makes a key at a time; the others wait and take the result. With is_shared they help first:
        they run `make` too, of which each does the parts that nobody has (see `build_if_free`). An exception in `make`
        leaves the store as it was; a damaged artefact is made anew.
        """
        if self.has(record.stage, record.key):
            return self._reuse(record)
        with _disk_explained(self.root):
            is_member = int(os.environ.get("RANK", "0")) > 0  # of a distributed training, whose first process builds
            if is_member or (is_shared and self._is_being_built(record)):
                with self._work_folder(record) as work:
                    make(work)
            with locked(self._lock(record)):
                return self._make(record, make)

    def build_if_free(self, record: Manifest, make: Callable[[Path], None]) -> Path | None:
        """As `build`, but None while another process is at it."""
        if self.has(record.stage, record.key):
            return self._reuse(record)
        with _disk_explained(self.root), locked(self._lock(record), wait=False) as is_ours:
            return self._make(record, make) if is_ours else None

    @contextmanager
    def build_together(self, records: Iterable[Manifest]) -> Iterator[dict[str, Path]]:
        """Folders to fill while the block runs, by key: of those artefacts that nobody has built, or is building.

        They are artefacts when the block ends well. Each is said to have taken its share of the time.
        """
        with _disk_explained(self.root), ExitStack() as stack:
            free = [
                record
                for record in records
                if stack.enter_context(locked(self._lock(record), wait=False))
                and not self.has(record.stage, record.key)
            ]
            yield {record.key: stack.enter_context(self._being_made(record, share=len(free))) for record in free}

    def _make(self, record: Manifest, make: Callable[[Path], None]) -> Path:
        """The lock is held."""
        if self.has(record.stage, record.key):
            return self._reuse(record)
        with self._being_made(record) as work:
            make(work)
        return self.path(record.stage, record.key)

    @contextmanager
    def _being_made(self, record: Manifest, share: int = 1) -> Iterator[Path]:
        """A folder to fill, which is the artefact when the block ends well. The lock is held.

        share: how many artefacts are made in the same time.
        """
        final = self.path(record.stage, record.key)
        if final.exists():
            logging.getLogger(__name__).warning("%s is damaged: it is made anew.", final)
            shutil.rmtree(final)
        final.parent.mkdir(parents=True, exist_ok=True)
        with self._work_folder(record) as work:
            started, before = time.monotonic(), REUSED.get()
            REUSED.set(0.0)
            yield work
            write_json(work / MANIFEST, record.model_copy(update={"files": file_records(work)}).model_dump())
            os.chmod(work, 0o777 & ~_umask())
            os.rename(work, final)
            self.training_state(record.key).unlink(missing_ok=True)
            seconds = (time.monotonic() - started) / share + REUSED.get()
            about = {"stage": record.stage, "seconds": seconds} | circumstances()
            write_json(_made(self.root / "timings") / f"{record.key}.json", about)
            REUSED.set(before)

    def _reuse(self, record: Manifest) -> Path:
        final = self.path(record.stage, record.key)
        with suppress(OSError):  # another user's, or a read-only store
            os.utime(final)
        REUSED.set(REUSED.get() + (self.seconds(record.key) or 0.0))
        return final

    def _lock(self, record: Manifest) -> Path:
        return self.root / "locks" / f"{record.stage}-{record.key}"

    def _is_being_built(self, record: Manifest) -> bool:
        with locked(self._lock(record), wait=False) as is_free:
            return not is_free

    @contextmanager
    def _work_folder(self, record: Manifest) -> Iterator[Path]:
        work = Path(tempfile.mkdtemp(prefix=f"{record.stage}-", dir=_made(self.root / "tmp")))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def training_state(self, key: str) -> Path:
        """Where the training that makes an artefact keeps its state, for a killed one to go on; deleted at its end."""
        return self.root / "training" / f"{key}.pt"

    def seconds(self, key: str) -> float | None:
        """How long the artefact took to make, with the parts that were there already; None if it was made elsewhere."""
        found = self.made(key)
        return float(found["seconds"]) if found else None

    def made(self, key: str) -> dict[str, Any]:
        """How the artefact was made: stage, seconds, made (UTC), device, commit. Empty if it was made elsewhere."""
        path = self.root / "timings" / f"{key}.json"
        found: dict[str, Any] = read_json(path) if path.exists() else {}
        return found

    def prune(self, keep_days: float) -> list[Path]:
        """Delete artefacts, left-over work and unfinished trainings not used for `keep_days` days; returns them."""
        limit = time.time() - keep_days * 86400
        known = [*filter(Path.is_dir, self.root.glob("*/*")), *filter(Path.is_file, self.root.glob("training/*"))]
        old = [path for path in known if path.stat().st_mtime < limit]
        for path in old:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return old

    def artifacts(self) -> Iterator[Path]:
        """Folders of all artefacts, shards included."""
        yield from sorted(path.parent for path in self.root.glob(f"*/*/{MANIFEST}"))

    def verify(self) -> list[tuple[Path, str]]:
        """Hash every file anew; artefacts that are not what their manifest says, and why. They are deleted."""
        found = [(folder, reason) for folder in self.artifacts() if (reason := damage(folder))]
        for folder, _ in found:
            shutil.rmtree(folder)
        return found

    def usage(self) -> dict[str, tuple[int, int]]:
        """(artefacts, bytes on disk) by stage, the largest first; a file that several share counts once."""
        seen: set[tuple[int, int]] = set()
        found: dict[str, tuple[int, int]] = {}
        for folder in self.artifacts():
            count, size = found.get(folder.parent.name, (0, 0))
            for path in folder.rglob("*"):
                status = path.stat()
                if path.is_file() and (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    size += status.st_blocks * 512
            found[folder.parent.name] = (count + 1, size)
        if states := list(self.root.glob("training/*.pt")):
            found["unfinished trainings"] = (len(states), sum(path.stat().st_blocks * 512 for path in states))
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def is_whole(folder: Path) -> bool:
    """Whether every file of an artefact is there in its full size."""
    try:
        files = Artifact(folder).manifest.files
        return all((folder / name).stat().st_size == record.bytes for name, record in files.items())
    except (BadInput, OSError):
        return False


def damage(folder: Path) -> str:
    """What is wrong with an artefact, every file hashed anew; "" for nothing."""
    try:
        wanted = Artifact(folder).manifest.files
        found = file_records(folder)
    except (BadInput, OSError) as error:
        return str(error)
    wrong = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    return f"{wrong[0]} is missing, changed or not its own ({len(wrong)} files in all)" if wrong else ""


@contextmanager
def _disk_explained(root: Path) -> Iterator[None]:
    """Turn a full disk, and a store that may not be written, into a BadInput that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and str(error.filename).startswith(str(root)):
            raise BadInput(
                f"{error.filename}: this user may not write there ({error.strerror}), so nothing new can be computed. "
                "Ask for write access to the store (a common group, umask 002), or set BFR_STORE to another folder."
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        free = shutil.disk_usage(root).free / 2**30
        raise BadInput(
            f"No space left to write a result into {root} ({free:.1f} GiB free: {error.strerror}). Nothing that was "
            "finished is lost. Make room: `python -m flows.stage usage` shows what is large, `… prune --days 30` "
            "deletes what was not used lately; or set BFR_STORE to a folder on another disk."
        ) from error


@cache
def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def file_records(folder: Path) -> dict[str, FileRecord]:
    """Every file below a folder (the manifest left out), by its relative name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        path.relative_to(folder).as_posix(): FileRecord(sha256=file_digest(path), bytes=path.stat().st_size)
        for path in paths
    }


def publish(source: Path, destination: Path) -> None:
    """Copy an artefact to a workspace folder that DVC tracks. Copies, never links: DVC and users may write there.

    Does nothing where the destination already is that artefact. The swap is two renames under a lock.
    """
    manifest = Artifact(source).manifest
    with _locked_folder(destination.parent):
        if _is_copy(destination, manifest):
            return
        work = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
        try:
            shutil.copytree(source, work / "new", copy_function=copy_file)
            if destination.exists():
                os.rename(destination, work / "old")
            os.rename(work / "new", destination)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def copy_file(source: str, destination: str) -> str:
    """Copy a file's contents; on file systems that can share blocks (btrfs, xfs) the copy takes no space."""
    with open(source, "rb") as old, open(destination, "wb") as new:
        left = os.fstat(old.fileno()).st_size
        try:
            while left > 0:
                done = os.copy_file_range(old.fileno(), new.fileno(), left)
                if done == 0:
                    break
                left -= done
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            shutil.copyfileobj(old, new)
    return destination


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Hold an exclusive flock on a folder itself, so that no lock file lies among its contents."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_copy(destination: Path, manifest: Manifest) -> bool:
    return is_whole(destination) and Artifact(destination).manifest == manifest


def link_files(source: Path, destination: Path, names: Iterable[str]) -> None:
    """Hard-link finished store files into another store folder (both are read-only by convention)."""
    for name in names:
        os.link(source / name, destination / name)
