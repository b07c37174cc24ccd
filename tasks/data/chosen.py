"""The photos that a user names: files, folders with all below them, patterns; and what their results are called."""

import copy
import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from tasks.basics import BadInput
from tasks.data.ingest import content_of, discover, image_ids, safe_name
from tasks.data.photo import EXTENSIONS
from tasks.store.artifact import MANIFEST
from tasks.store.keys import digest


class ChosenPhotos:
    """Photos by id, as the source of a stage in shards.

    given: what was named; paths: the files, by id, sorted. labels: what they are called, by id: the name of a file that
    was given, the path below a folder that was given; with several folders, their own names come first.
    Raises BadInput for a path that is not there or cannot be listed, and where there is no photo at all.
    """

    def __init__(self, given: Sequence[Path]) -> None:
        if not given:
            raise BadInput("Which photos? Name photos, or folders of them.")
        self.given = [path for each in given for path in expanded(each)]
        labelled = labels_of(self.given)
        if not labelled:
            raise BadInput(f"{given[0]} has no image files. Correct the path.")
        root = Path("/photos")  # stands for where the labels begin
        ids = image_ids([root / label for label in labelled], root)
        self.labels = {image_id: path.relative_to(root).as_posix() for image_id, path in ids.items()}
        self.paths = {image_id: labelled[label] for image_id, label in self.labels.items()}

    def some(self, ids: Sequence[str]) -> "ChosenPhotos":
        """These of the photos."""
        found = copy.copy(self)
        found.labels = {image_id: self.labels[image_id] for image_id in ids}
        found.paths = {image_id: self.paths[image_id] for image_id in ids}
        found.__dict__.pop("_digests", None)
        return found

    @property
    def ids(self) -> list[str]:
        return list(self.paths)

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {image_id: content_of(path) for image_id, path in self.paths.items()}

    @property
    def digest(self) -> str:
        return digest({image_id: [self.labels[image_id], content] for image_id, content in self._digests.items()})

    def sha256(self, image_id: str) -> str:
        """Of a photo's file; of one that cannot be read, the reason."""
        return self._digests[image_id]

    def result_names(self, suffixes: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """What the results are called, by id: the labels, each part safe on every system, with one of the suffixes.

        suffixes: of each photo that has a result. Where two would be equal, or one like a folder, upper and lower case
        aside, the id is the name.
        """
        names = {image_id: self._result_name(image_id, wanted) for image_id, wanted in suffixes.items()}
        uses = Counter(name.casefold() for name in names.values())
        folders = {str(folder).casefold() for name in names.values() for folder in PurePosixPath(name).parents}
        is_free = {name: uses[name.casefold()] == 1 and name.casefold() not in folders for name in names.values()}
        if MANIFEST in folders:  # lies beside the photos
            is_free = dict.fromkeys(is_free, False)
        return {
            image_id: name if is_free[name] else f"{image_id}{suffixes[image_id][0]}"
            for image_id, name in names.items()
        }

    def _result_name(self, image_id: str, suffixes: Sequence[str]) -> str:
        label = PurePosixPath(self.labels[image_id])
        is_kept = label.suffix.lower() in suffixes
        stem = label.stem if label.suffix.lower() in EXTENSIONS else label.name
        last = f"{safe_name(stem)}{label.suffix if is_kept else suffixes[0]}"
        return "/".join([*map(safe_name, label.parts[:-1]), last])


def expanded(path: Path) -> list[Path]:
    """A path, or those that it stands for with * and ?. Raises BadInput where there are none."""
    try:
        if path.exists():
            return [path]
        if not glob.has_magic(str(path)):
            raise BadInput(f"{path} is not there. Correct the path.")
        found = sorted(map(Path, glob.glob(str(path), recursive=True)))
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise BadInput(f"{path} cannot be used as a path ({error.strerror}). Correct it.") from error
    if not found:
        raise BadInput(f"No file is called like {path}. Correct the path.")
    return found


def labels_of(given: Sequence[Path]) -> dict[str, Path]:
    """The photos at these paths, by their labels; a photo that is named twice is there once."""
    folders = [path for path in given if not path.is_file()]
    labelled: dict[Path, Path] = {}
    for path in given:
        for photo in discover(path):
            alone = Path(photo.name) if path.is_file() else photo.relative_to(path)
            label = Path(path.name) / alone if len(folders) > 1 and path in folders else alone
            labelled.setdefault(photo.parent.resolve() / photo.name, label)  # whatever way led there
    uses = Counter(str(label).casefold() for label in labelled.values())
    found = {
        str(label if uses[str(label).casefold()] == 1 else Path(*photo.parts[-2:])): photo
        for photo, label in labelled.items()
    }
    if len(found) < len(labelled):
        raise BadInput("Two of the photos have one name: restore them one by one, or give the folder that holds them.")
    return found
