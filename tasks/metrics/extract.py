"""Make `niqe.safetensors` and `brisque.safetensors` from files inside two wheels.

    python -m tasks.metrics.extract mmagic-1.2.0-py2.py3-none-any.whl brisque-0.2.0-py3-none-any.whl

The wheels come from PyPI (`pip download --no-deps mmagic==1.2.0 brisque==0.2.0`); none of their code is used.
"""

import hashlib
import io
import pickletools
import sys
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tasks.basics import BadInput
from tasks.metrics.brisque import MODEL
from tasks.metrics.niqe import PARAMETERS

SHA256 = {
    "mmagic": "efa91041097c40e452dd2037b596a5633a6a512447c28a71c970c24aca04039c",
    "brisque": "56f1839e5179a294d0598d63b2ee488fcbedeac7cee3e32c7c8d06c30a6269e1",
}


def niqe_parameters(wheel: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Values unchanged."""
    with np.load(io.BytesIO(wheel.read("mmagic/evaluation/metrics/niqe_pris_params.npz"))) as file:
        return {"mean": file["mu_pris_param"][0], "covariance": file["cov_pris_param"]}


def brisque_model(wheel: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """The support vectors of libsvm's text, and the ranges of the features; values unchanged."""
    _, _, text = wheel.read("brisque/models/svm.txt").decode().partition("\nSV\n")
    rows = [line.split() for line in text.splitlines()]
    vectors = np.zeros((len(rows), 36))
    for n, (_, *pairs) in enumerate(rows):
        for pair in pairs:
            index, value = pair.split(":")
            vectors[n, int(index) - 1] = float(value)
    least, most = ranges(wheel.read("brisque/models/normalize.pickle"))
    return {"vectors": vectors, "weights": np.array([float(row[0]) for row in rows]), "least": least, "most": most}


def ranges(pickled: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The lists `min_` and `max_` of a pickle, which is read, not executed."""
    lists: dict[str, list[float]] = {}
    name = ""
    for code, value, _ in pickletools.genops(pickled):
        if isinstance(value, str) and value in ("min_", "max_"):
            name = value
            lists[name] = []
        elif code.name in ("BINFLOAT", "FLOAT") and name:
            lists[name].append(float(str(value)))
    return np.array(lists["min_"]), np.array(lists["max_"])


def opened(path: Path, package: str) -> zipfile.ZipFile:
    """Raises BadInput unless the file is the pinned wheel: other releases may carry other data under other terms."""
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "not there"
    if found != SHA256[package]:
        raise BadInput(f"{path} is not the wheel of {package}: its sha256 is {found}, expected {SHA256[package]}.")
    return zipfile.ZipFile(path)


def main(mmagic: Path, brisque: Path) -> None:
    save_file(niqe_parameters(opened(mmagic, "mmagic")), PARAMETERS)
    save_file(brisque_model(opened(brisque, "brisque")), MODEL)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
