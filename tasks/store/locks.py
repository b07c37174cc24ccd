"""Locks between processes: flocks, which the kernel frees when their process dies."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool = True, remove: bool = False) -> Iterator[bool]:
    """Hold an exclusive flock on `path` (made if absent), freed when the process dies; yields whether it is held.

    Waits for another holder, or with wait=False yields False at once. Another user's lock file will do. remove: the
    holder deletes the file at the end; who waited for it goes on to the next file of that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = _opened(path)
        try:
            is_held = _taken(descriptor, wait)
            if is_held and not _is_at(descriptor, path):
                continue
            try:
                yield is_held
            finally:
                if is_held and remove:
                    with suppress(OSError):  # another user's, or gone with its folder
                        path.unlink()
            return
        finally:
            os.close(descriptor)


@contextmanager
def locked_for(purpose: str, path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock together with all who hold it for the same purpose, one line of text; wait for those of another.

    on_wait: is called before a wait.
    """
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        while _text(file.fileno()) != purpose:
            fcntl.flock(file, fcntl.LOCK_UN)
            if not _taken(file.fileno(), wait=False):
                on_wait()
                _taken(file.fileno(), wait=True)
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), purpose.encode())
            fcntl.flock(file, fcntl.LOCK_SH)  # not at one go: another may have been quicker
        yield


@contextmanager
def locked_folder(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive flock on a folder itself, so that no lock file lies among its contents; yields whether it is.

    Waits for another holder, or with wait=False yields False at once. Where folders cannot be locked (NFS), a file in
    the system's temporary folder stands for it, which those on other machines do not see.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            holder: AbstractContextManager[bool] = nullcontext(_taken(descriptor, wait))
        except OSError:
            holder = locked(_stand_in(folder), wait=wait, remove=True)
        with holder as is_held:
            yield is_held
    finally:
        os.close(descriptor)


def _stand_in(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    return Path(tempfile.gettempdir()) / f"bfr-{os.getuid()}-{name}"


def _text(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY)


def _taken(descriptor: int, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Is the open file still the one by this name?"""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
