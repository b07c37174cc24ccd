"""Deterministic stand-in weights and noise for the diffusion golden files.

1. A manifest is {"salt": str, "gain": float, "tensors": {key: shape}, ...}; every tensor is filled on its own.
2. z = standard normal float64 from numpy Generator(PCG64(seed)), C order, seed = first 16 bytes (big endian) of
   SHA-256 of "key|salt" in UTF-8, so neither the order of the keys nor the other tensors matter.
3. Two or more dimensions: z * gain / sqrt(product(shape[1:])) (fan-in scaling, activations keep their size).
4. One dimension: keys that end in ".weight" are normalisation scales, 1 + 0.1 z; all others are biases, 0.1 z.
5. The arithmetic is float64 and the result is rounded once to float32; zero-initialised layers are filled too.

`noise(tag, shape)` is the same stream without scaling; large network inputs are given by their tag.
Each manifest carries "sha256": a digest over all filled tensors, so a change of the stream shows at once.
"""

import hashlib
import json

import numpy as np


def _normal(tag, shape):
    seed = int.from_bytes(hashlib.sha256(tag.encode("utf-8")).digest()[:16], "big")
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(int(s) for s in shape))


def noise(tag, shape):
    """float32 standard normal array that depends on `tag` and `shape` only."""
    return _normal(f"noise|{tag}", shape).astype(np.float32)


def fill_tensor(key, shape, salt, gain=1.0):
    """float32 array for one state-dict entry."""
    z = _normal(f"{key}|{salt}", shape)
    if len(shape) > 1:
        z *= gain / np.sqrt(np.prod([int(s) for s in shape[1:]]))
    elif key.endswith(".weight"):
        z = 1.0 + 0.1 * z
    else:
        z *= 0.1
    return z.astype(np.float32)


def load_manifest(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def arrays(manifest, salt=None, gain=None):
    """{key: float32 array} for the whole manifest; salt and gain default to the manifest's."""
    salt = manifest["salt"] if salt is None else salt
    gain = manifest["gain"] if gain is None else gain
    return {key: fill_tensor(key, shape, salt, gain) for key, shape in manifest["tensors"].items()}


def digest(state):
    """SHA-256 over the keys (sorted) and the little-endian float32 bytes of their arrays."""
    h = hashlib.sha256()
    for key in sorted(state):
        h.update(key.encode("utf-8"))
        h.update(np.ascontiguousarray(state[key], dtype="<f4").tobytes())
    return h.hexdigest()


def fill_module(module, manifest, salt=None, gain=None):
    """Fill a torch module in place; its state-dict keys must equal the manifest's keys."""
    import torch

    state = module.state_dict()
    if set(state) != set(manifest["tensors"]):
        raise KeyError(sorted(set(state) ^ set(manifest["tensors"]))[:8])
    with torch.no_grad():
        for key, value in arrays(manifest, salt, gain).items():
            if tuple(state[key].shape) != value.shape:
                raise ValueError(f"{key}: module {tuple(state[key].shape)}, manifest {value.shape}")
            state[key].copy_(torch.from_numpy(value))
    return module


def sample(x, count=8192):
    """Evenly strided values: x.ravel()[::step], step = (size // count) | 1 (odd, so that it meets all columns)."""
    flat = np.asarray(x).ravel()
    return flat[:: (flat.size // count) | 1]


def summary(x):
    """float64 [mean, std, min, max, max|x|, sum|x|] of an array."""
    x = np.asarray(x, dtype=np.float64)
    return np.array([x.mean(), x.std(), x.min(), x.max(), np.abs(x).max(), np.abs(x).sum()])
