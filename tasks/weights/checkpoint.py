"""Restorer weights on disk: state dicts of safetensors or torch.save, read without running any code in them."""

import os
import re
import zipfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tasks.basics import BadInput
from tasks.store.files import whole_file

FORMATS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
AVERAGED = ("params_ema", "g_ema", "model_ema", "ema_state_dict", "ema")
WRAPPINGS = (*AVERAGED, "params", "state_dict", "model_state_dict", "generator", "net_g", "model")
PREFIXES = re.compile(r"(?:(?:module|model|generator|net_g|netG|_orig_mod)\.)*")
HEAD = 1024  # bytes that tell what a file is
SHOWN = 6  # differences in an error message
LONGEST_REASON = 300  # letters of another library's message
UNPACKED = 20  # times its size: tensors hardly pack, and torch.save does not try
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")  # gz, bz2, xz, 7z, rar, zst


def write_state_dict(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors to `.safetensors`, or to `.pth` for the original repositories."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        if path.suffix == ".safetensors":
            temporary.write_bytes(safetensors.torch.save(tensors))  # save_file would make it private to its user
        elif path.suffix == ".pth":
            torch.save(tensors, temporary)
        else:
            raise ValueError(f"{path}: weights are written to *.safetensors or *.pth files, found '{path.suffix}'")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU, out of the wrappings that official files come in ("params_ema": …).

    Raises BadInput when it is missing, damaged or of another kind. `under_prefix` takes off what trainers put before
    the names.
    """
    if path.is_file() and path.suffix.lower() not in FORMATS:
        *most, last = (f"*{suffix}" for suffix in FORMATS)
        raise BadInput(f"{path}: expected a {', '.join(most)} or {last} file, found '{path.suffix}'.")
    tensors = unwrapped(contents := read_contents(path))
    if tensors is None:
        raise BadInput(
            f"{path}: expected a file of named tensors, found {_described(contents)}. Take the file of the network "
            "itself: one that torch.save(model.state_dict(), …) writes, or *.safetensors."
        )
    for name, value in tensors.items():
        if kind := _unusual(value):
            raise BadInput(
                f"{path}: expected a file of named tensors, found {name!r} ({kind}), which is no table of real numbers."
                " Take the file of the network itself."
            )
    parallel = "module."  # of DataParallel and DistributedDataParallel
    return without(tensors, parallel) if all(key.startswith(parallel) for key in tensors) else tensors


def read_contents(path: Path) -> Any:
    """What torch.save or safetensors wrote, on the CPU; no code in it is run. Raises BadInput for any other file."""
    if not path.exists():
        raise BadInput(f"{path} is missing: expected restorer weights there. Put the file there or correct the path.")
    if not path.is_file():
        raise BadInput(f"{path}: expected a file of weights, found a folder, a pipe or a device. Name the file.")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}). Correct its permissions, or copy it.") from error
    try:
        if head[8:9] == b"{":  # behind the length of the header
            return safetensors.torch.load_file(path)
        with path.open("rb") as file:  # by its path, torch would go by its suffix
            _refuse_archives(file)
            return torch.load(file, map_location="cpu", weights_only=True)
    except BadInput as error:
        raise BadInput(f"{path}: expected a file of tensors, found {error}") from error
    except Exception as error:
        raise BadInput(f"{path}: expected a file of tensors, found {_other_kind(head, error)}") from error


def _refuse_archives(file: BinaryIO) -> None:
    """Raises BadInput for a zip that torch.save has not written: of other files, or packed to fill the memory."""
    if entries := _entries(file):
        size, unpacked = file.seek(0, os.SEEK_END), sum(entry.file_size for entry in entries)
        if unpacked > UNPACKED * size + 2**20:
            raise BadInput(
                f"an archive of {size} bytes that unpacks to {unpacked}. Take the file of the network itself."
            )
        if not any(entry.filename.endswith(".pkl") for entry in entries):
            names = ", ".join(entry.filename for entry in entries[:SHOWN])
            raise BadInput(f"an archive of other files ({names}). Unpack it, and take the file in it.")
    file.seek(0)


def _entries(file: BinaryIO) -> list[zipfile.ZipInfo]:
    """What is in a zip; nothing where it is damaged, of which torch says more."""
    with suppress(Exception):  # damaged bytes make zipfile raise nearly anything
        return zipfile.ZipFile(file).infolist()
    return []


def _other_kind(head: bytes, error: Exception) -> str:
    """What a file is that holds no tensors, and what to do; not PyTorch's own text, which advises to run its code."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "an empty one. Get it again."
    if text.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS. Run `git lfs pull` where it comes from, and copy the file itself."
    if text.startswith(b"<"):
        return "a web page: it was downloaded instead of the file. Get the file by its page's download button."
    if "central directory" in str(error):  # which is at the end of a zip archive
        return "the beginning of one: the download broke off. Get it again."
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"also objects of Python ({found[1]}), which could run code (unsafe). Take a file of tensors alone: one "
            "that torch.save(model.state_dict(), …) writes, or *.safetensors."
        )
    if "TorchScript" in str(error):
        return "a TorchScript program. Take the file of its weights."
    if head.startswith(PACKED) or head[257:262] == b"ustar":
        return "a packed archive. Unpack it, and take the file in it."
    if (letters := text.decode("ascii", "replace")).isprintable() or letters.startswith(("{", "[")):
        return f"a text ({letters[:40]!r}). Get the file itself."
    return f"a damaged one or another kind ({type(error).__name__}). Get it again."


def _unusual(tensor: Tensor) -> str:
    """What keeps a tensor from being weights: it has no values, or not plain ones; "" for nothing."""
    if tensor.is_meta:
        return "meta"
    if tensor.layout != torch.strided:
        return str(tensor.layout).removeprefix("torch.")
    return str(tensor.dtype).removeprefix("torch.") if tensor.is_complex() or tensor.is_quantized else ""


def _described(contents: Any) -> str:
    if isinstance(contents, Mapping):
        names = ", ".join(map(repr, list(contents)[:SHOWN]))
        return f"none of them under {names}" if names else "an empty dictionary"
    if isinstance(contents, Tensor):
        return f"one tensor of shape {tuple(contents.shape)} without a name"
    return f"a {type(contents).__name__}"


def unwrapped(contents: Any, depth: int = 5) -> dict[str, Tensor] | None:
    """The named tensors in a checkpoint, None where there are none: averaged weights before others, in each other."""
    if not isinstance(contents, Mapping) or not depth:
        return None
    inner = {key: found for key, value in contents.items() if (found := unwrapped(value, depth - 1))}
    if known := next((key for key in WRAPPINGS if key in inner), None):
        return inner[known]
    tensors = {key: value for key, value in contents.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors and len(inner) == 1:
        return next(iter(inner.values()))
    return tensors or None


def prefixes(state: Mapping[str, Tensor]) -> list[str]:
    """The prefixes of parallel, compiled and Lightning modules that names begin with, the shortest first; "" too."""
    longest = {match[0] for key in state if (match := PREFIXES.match(key))}
    parts = ([*part.split(".")[:-1]] for part in longest)
    found = {"".join(f"{word}." for word in words[:count]) for words in parts for count in range(len(words) + 1)}
    return sorted(found | {""}, key=lambda prefix: (len(prefix), prefix))


def without(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it: a discriminator beside a generator is left out."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def under_prefix(state: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """The tensors without the prefix under which all the wanted names are; as they are where none fits."""
    names = state.keys()
    return without(state, next((some for some in prefixes(state) if {some + name for name in wanted} <= names), ""))


def spandrel_network(path: Path, architecture: str) -> nn.Module:
    """spandrel's bare network of a checkpoint, whose configuration is read off the tensors' shapes; its mode varies.

    architecture: the name of its class. Raises BadInput when the file is missing or holds another network.
    """
    from spandrel import ModelLoader  # here, not above: takes seconds

    state, model = read_state_dict(path), None
    for prefix in prefixes(state):
        try:
            with to_be_filled():
                model = ModelLoader().load_from_state_dict(without(state, prefix)).model
            break
        except Exception as error:  # some of a network's tensors alone make spandrel raise nearly anything
            reason = error
    if model is None:
        text = f"{reason} is missing" if isinstance(reason, KeyError) else str(reason)
        why = " ".join(text.split())[:LONGEST_REASON] or "of no architecture that is known"
        raise BadInput(f"{path}: expected the weights of {architecture}, found other tensors: {why}") from reason
    if type(model).__name__ != architecture:
        raise BadInput(f"{path}: expected the weights of {architecture}, found those of {type(model).__name__}.")
    refuse_other_numbers(model, without(state, prefix), path)
    return model


def to_be_filled() -> TorchFunctionMode:
    """While the block builds a network that is filled next, nobody draws its first weights: they would be lost.

    What they would have been is whatever was in memory; drawing them takes longer than reading the file.
    """
    return _NothingDrawn()


class _NothingDrawn(TorchFunctionMode):
    DRAWING = (Tensor.normal_, Tensor.uniform_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if function in self.DRAWING:
            return args[0] if args else given["tensor"]
        return function(*args, **given)


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Put the tensors of `path` into a network. Raises BadInput with the first differences if they do not fit it.

    what: the network, as the message calls it.
    """
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    state = under_prefix(state, wanted)
    found = {key: tuple(value.shape) for key, value in state.items()}
    differences = [
        *(f"{key} {wanted[key]} is missing" for key in wanted if key not in found),
        *(f"{key} {found[key]} is not in it" for key in found if key not in wanted),
        *(f"{key} is {found[key]}, not {wanted[key]}" for key in wanted if key in found and found[key] != wanted[key]),
    ]
    if differences:
        first = "\n  ".join(differences[:SHOWN])
        raise BadInput(f"{path}: expected the weights of {what}; {len(differences)} tensors differ, first:\n  {first}")
    model.load_state_dict(dict(state))
    refuse_other_numbers(model, state, path)


def refuse_other_numbers(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Raises BadInput unless the parameters that a network has taken are finite, and were as real as its own.

    Integers are weights that were quantised: without their scale they are others.
    """
    own = dict(model.named_parameters())
    whole = [key for key in own if key in state and not state[key].is_floating_point()]
    if whole:
        kind = str(state[whole[0]].dtype).removeprefix("torch.")
        raise BadInput(
            f"{path}: expected real numbers, found {whole[0]} of {kind} ({len(whole)} such tensors): quantised weights"
            " cannot be used. Take the file that they were made from."
        )
    if broken := [key for key, value in own.items() if not bool(torch.isfinite(value).all())]:
        raise BadInput(
            f"{path}: expected finite numbers, found NaN or infinite ones in {broken[0]} ({len(broken)} such tensors):"
            " its training has diverged, or the file is damaged. Take an earlier one, or get it again."
        )
