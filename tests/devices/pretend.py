"""Pretended devices: the CPU computes, and every storage wears the name of the device that it would be on.

`Pretended` refuses what a device refuses: tensors of two devices in one operation, `.numpy()` of a device's tensor,
float64 on Apple's GPU. It notes where the host would wait for the device (`waits`): values that are fetched, copies
from memory that is not pinned. Random numbers and arithmetic are the CPU's.
"""

import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo  # which optimisers import, and which asks the functions that are replaced below
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tasks.basics import ROOT

CPU = torch.device("cpu")
FETCH = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "is_nonzero", "equal", "unique_consecutive"}
MAY_MIX = {"copy_", "_to_copy", "index", "index_put_", "index_put", "_index_put_impl_", "_foreach_copy_", "set_"}
MAY_NOT_MIX_NUMBERS = {"mm", "addmm", "bmm", "cat", "stack"}
OF_DEVICE = {Tensor.device.__get__: "device", Tensor.is_cuda.__get__: "is_cuda", Tensor.is_cpu.__get__: "is_cpu"}  # type: ignore[attr-defined]
TO_NUMPY = {Tensor.numpy: "numpy", Tensor.__array__: "__array__"}
own_to, own_pin = Tensor.to, Tensor.pin_memory


class Mixed(RuntimeError):
    """Tensors of different devices met."""


class Pretended:
    """`count` devices of a type, "cuda" or "mps", inside `with pretended.devices():`."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.count, self.current = kind, count, 0
        self.waits: Counter[str] = Counter()
        self.seen: set[str] = set()
        self._names: dict[int, tuple[StorageWeakRef, torch.device]] = {}  # the references keep the numbers from reuse
        self._pinned: dict[int, StorageWeakRef] = {}
        self.local = threading.local()

    @contextmanager
    def devices(self) -> Iterator[None]:
        """While the block runs, in this thread and in pools that it starts."""
        self.local.depth = getattr(self.local, "depth", 0) + 1
        try:
            with Functions(self), Operations(self):
                yield
        finally:
            self.local.depth -= 1

    def full_name(self, device: Any) -> torch.device:
        device = torch.device(device)
        return torch.device(self.kind, self.current) if device.type == self.kind and device.index is None else device

    def device_of(self, tensor: Tensor) -> torch.device:
        found = self._names.get(tensor.untyped_storage()._cdata)
        return found[1] if found else CPU

    def put(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Name the storage of a new tensor."""
        if device.type == "mps" and tensor.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"MPS has no float64 ({where()})")
        storage = tensor.untyped_storage()
        if device.type == "cpu":
            self._names.pop(storage._cdata, None)
        else:
            self.seen.add(str(device))
            self._names[storage._cdata] = StorageWeakRef(storage), device
        return tensor

    def wait(self, what: str) -> None:
        self.waits[f"{what}: {where()}"] += 1

    def pin(self, tensor: Tensor) -> Tensor:
        assert self.device_of(tensor) == CPU, "only the CPU's memory can be pinned"
        copy = tensor.clone()
        self._pinned[copy.untyped_storage()._cdata] = StorageWeakRef(copy.untyped_storage())
        return copy

    def move(self, tensor: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
        if (before := self.device_of(tensor)) == device:
            return tensor
        is_async = non_blocking and tensor.untyped_storage()._cdata in self._pinned
        if CPU in (before, device) and not is_async:
            self.wait(f"copy from {before.type} to {device.type}")
        detached = tensor.detach() if isinstance(tensor, torch.nn.Parameter) else tensor
        self.local.pending = None
        return self.put(detached.clone(memory_format=torch.preserve_format), device)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """The functions of torch by which a program asks for devices."""
        of_cuda = {
            "is_available": lambda: self.kind == "cuda",
            "device_count": lambda: self.count if self.kind == "cuda" else 0,
            "current_device": lambda: self.current,
            "get_device_properties": lambda index: SimpleNamespace(uuid=f"gpu-{torch.device(self.kind, index).index}"),
            "get_device_name": lambda *index: f"pretended {index[0] if index else self.current}",
            "mem_get_info": lambda *device: (10**11, 10**11),
            "memory_reserved": lambda *device: 0,
            "memory_allocated": lambda *device: 0,
            "empty_cache": lambda: None,
            "synchronize": lambda *device: None,
            "is_current_stream_capturing": lambda: False,
            "device": self.entered,
            "default_generators": [torch.Generator() for _ in range(self.count)],
        }
        for name, value in of_cuda.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch.backends.mps, "is_available", lambda: self.kind == "mps")
        patch.setattr(torch.nn.utils.clip_grad, "_group_tensors_by_device_and_dtype", self.grouped)
        patch.setattr(torch.mps, "empty_cache", lambda: None)
        patch.setattr(torch.mps, "_get_default_mps_generator", lambda: torch.default_generator)
        patch.setattr(torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda optimizer: None)
        patch.setattr(ThreadPoolExecutor, "submit", self.submitted(ThreadPoolExecutor.submit))
        own = torch.autocast

        class Autocast(own):  # type: ignore[misc, valid-type]
            def __init__(this, device_type: str, *rest: Any, **options: Any) -> None:
                super().__init__("cpu" if device_type == self.kind else device_type, *rest, **options)

        patch.setattr(torch, "autocast", Autocast)

    @contextmanager
    def entered(self, index: int) -> Iterator[None]:
        before, self.current = self.current, index
        try:
            yield
        finally:
            self.current = before

    def grouped(self, lists: list[list[Tensor]]) -> dict[Any, Any]:
        """What torch's own function, in C++, says of tensors of one device."""
        first = lists[0][0]
        return {(self.device_of(first), first.dtype): (lists, list(range(len(lists[0]))))}

    def submitted(self, submit: Any) -> Any:
        def submit_inside(pool: ThreadPoolExecutor, work: Any, /, *given: Any, **named: Any) -> Any:
            is_inside = getattr(self.local, "depth", 0) > 0

            def run() -> Any:
                with self.devices() if is_inside else nullcontext():
                    return work(*given, **named)

            return submit(pool, run)

        return submit_inside


class Operations(TorchDispatchMode):
    """Every operation: do its tensors lie on one device, does it fetch a value, where does its result lie?"""

    def __init__(self, pretended: Pretended) -> None:
        super().__init__()
        self.pretended = pretended

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        its, kwargs = self.pretended, kwargs or {}
        name = func.overloadpacket.__name__
        given = tensors_in((args, kwargs))
        devices = [its.device_of(tensor) for tensor in given]
        away = {device for device in devices if device != CPU}
        if away:
            self.check(name, args, given, devices, away)
        known = {tensor.untyped_storage()._cdata for tensor in given}
        result = func(*args, **kwargs)
        asked = next(iter(away), None) or getattr(its.local, "pending", None) or CPU
        target = devices[0] if name == "index" else asked
        for tensor in tensors_in(result):
            if tensor.untyped_storage()._cdata not in known:
                its.put(tensor, target)
        return result

    def check(self, name: str, args: Any, given: list[Tensor], devices: list[Any], away: set[Any]) -> None:
        its = self.pretended
        if name in FETCH:
            its.wait(name)
        if name == "index":
            if devices[0] == CPU:
                raise Mixed(f"a table on the CPU, indices on {away}: {where()}")
            for index in (index for index in args[1] if index is not None):
                if index.dtype == torch.bool or its.device_of(index) == CPU:
                    its.wait("index by a mask, or from the CPU")
        if name.startswith("_foreach"):
            rows = [part for part in args if isinstance(part, list | tuple) and part and isinstance(part[0], Tensor)]
            is_mixed = any(len({its.device_of(tensor) for tensor in row}) > 1 for row in zip(*rows, strict=True))
        else:
            pairs = zip(given, devices, strict=True)
            is_mixed = len(away) > 1 or any(d == CPU and (t.ndim or name in MAY_NOT_MIX_NUMBERS) for t, d in pairs)
        if is_mixed and name not in MAY_MIX:
            raise Mixed(f"{name} of tensors on {[str(device) for device in devices]}: {where()}")


class Functions(TorchFunctionMode):
    """What Python asks of tensors: their device, moves, arrays, and where new ones are to lie."""

    def __init__(self, pretended: Pretended) -> None:
        super().__init__()
        self.pretended = pretended

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        its, kwargs = self.pretended, dict(kwargs or {})
        if func in OF_DEVICE:
            device = its.device_of(args[0])
            return device if OF_DEVICE[func] == "device" else device.type == OF_DEVICE[func].removeprefix("is_")
        if func in TO_NUMPY and its.device_of(args[0]) != CPU:
            raise TypeError(f"{TO_NUMPY[func]}() of a tensor on {its.device_of(args[0])}: {where()}")
        if func is Tensor.tolist and its.device_of(args[0]) != CPU:
            its.wait("tolist")
        if func is Tensor.type and len(args) == 1 and its.device_of(args[0]) != CPU:
            return func(*args).replace("torch.", f"torch.{its.kind}.")
        if func is Tensor.get_device:
            return its.device_of(args[0]).index if its.device_of(args[0]) != CPU else -1
        if func is own_pin:
            return its.pin(args[0])
        if func is Tensor.cpu:
            return its.move(args[0], CPU)
        if func in (own_to, Tensor.type_as):
            return self.to(*args, **kwargs)
        return self.call(func, args, kwargs)

    def call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        its, asked = self.pretended, kwargs.get("device")
        away = next((device for device in map(its.device_of, tensors_in((args, kwargs))) if device != CPU), None)
        if asked is not None and torch.device(asked).type == "meta":
            return func(*args, **kwargs)
        before = getattr(its.local, "pending", None)
        target = its.full_name(asked) if asked is not None else away
        if asked is not None:
            kwargs["device"] = CPU
        its.local.pending = target
        try:
            result = func(*args, **kwargs)
        finally:
            its.local.pending = before
        if func is Tensor.new_tensor:
            asked = away
        if asked is not None and target is not None:
            if target != CPU and resolve_name(func) in ("torch.tensor", "torch.as_tensor", "torch.Tensor.new_tensor"):
                its.wait("torch.tensor on a device")
            for tensor in tensors_in(result):
                its.put(tensor, target)
        return result

    def to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        its = self.pretended
        kwargs.pop("copy", None)
        if args and isinstance(args[0], Tensor):
            device, dtype, non_blocking, layout = its.device_of(args[0]), args[0].dtype, False, None
        else:
            device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        options = {name: value for name, value in (("dtype", dtype), ("memory_format", layout)) if value is not None}
        its.local.pending = None
        changed = own_to(tensor, **options) if options else tensor
        if changed is not tensor and its.device_of(changed) != its.device_of(tensor):
            its.put(changed, its.device_of(tensor))
        return changed if device is None else its.move(changed, its.full_name(device), non_blocking)


def tensors_in(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def where() -> str:
    """The innermost places in this project's code, the last one first."""
    frames = [frame for frame in traceback.extract_stack()[:-2] if Path(frame.filename).is_relative_to(ROOT)]
    inside = [f"{Path(f.filename).relative_to(ROOT)}:{f.lineno}" for f in frames if "/.venv/" not in f.filename]
    places = [place for place in inside if "devices/pretend.py" not in place]
    return " < ".join(reversed(places[-3:]))
