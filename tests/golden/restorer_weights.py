"""Deterministic stand-in weights and test images for the restorer and metric golden files.

Pretrained checkpoints are not shipped, so every golden number was produced with weights
that anybody can regenerate from a manifest.

1. Manifest: {"network", "salt", "gain", "parameters", "sha256", "tensors": {key: [shape, rule]}}.
2. Stream (the same as in ../diffusion/weights.py): z = standard normal float64 from numpy
   Generator(PCG64(seed)), C order, seed = first 16 bytes (big endian) of SHA-256 of "key|salt" in UTF-8.
3. Rules
     w     z * gain / sqrt(fan), fan = product(shape[1:]); for 5-d tensors product(shape[2:])
     w1    1 + 0.1 z              scale of a normalisation layer
     b     0.1 z                  bias, running mean, small 1-d tensor
     var   exp(0.2 z)             running variance
     p     0.25 + 0.05 z          PReLU slope
     n     z                      constant inputs and noise buffers
     unit  z / ||z||_2            spectral-norm vectors
     keep  not filled             buffer computed by the architecture (index tables, masks, counters)
   The arithmetic is float64 and the result is rounded once to float32.
4. "sha256" is `digest` of all filled arrays for the manifest's own salt.
"""

import hashlib
import json

import numpy as np


def stream(tag, shape):
    """float64 standard normal array that depends on `tag` and `shape` only."""
    seed = int.from_bytes(hashlib.sha256(tag.encode("utf-8")).digest()[:16], "big")
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(int(s) for s in shape))


def fill_tensor(key, shape, salt, rule, gain=1.0):
    """float32 array for one state-dict entry."""
    z = stream(f"{key}|{salt}", shape)
    if rule == "w":
        z *= gain / np.sqrt(np.prod([int(s) for s in (shape[2:] if len(shape) == 5 else shape[1:])]))
    elif rule == "w1":
        z = 1.0 + 0.1 * z
    elif rule == "b":
        z *= 0.1
    elif rule == "var":
        z = np.exp(0.2 * z)
    elif rule == "p":
        z = 0.25 + 0.05 * z
    elif rule == "unit":
        z = z / np.sqrt((z * z).sum())
    elif rule != "n":
        raise ValueError(rule)
    return np.asarray(z).astype(np.float32)


def load_manifest(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def arrays(manifest, salt=None):
    """{key: float32 array} for every tensor whose rule is not 'keep'."""
    salt = manifest["salt"] if salt is None else salt
    return {
        key: fill_tensor(key, shape, salt, rule, manifest["gain"])
        for key, (shape, rule) in manifest["tensors"].items()
        if rule != "keep"
    }


def digest(state):
    """SHA-256 over the keys (sorted) and the little-endian float32 bytes of their arrays."""
    h = hashlib.sha256()
    for key in sorted(state):
        h.update(key.encode("utf-8"))
        h.update(np.ascontiguousarray(state[key], dtype="<f4").tobytes())
    return h.hexdigest()


def fill_module(module, manifest, salt=None):
    """Fill a torch module in place; its state-dict keys must equal the manifest's keys."""
    import torch

    state = module.state_dict()
    if set(state) != set(manifest["tensors"]):
        raise KeyError(sorted(set(state) ^ set(manifest["tensors"]))[:8])
    with torch.no_grad():
        for key, value in arrays(manifest, salt).items():
            if tuple(state[key].shape) != value.shape:
                raise ValueError(f"{key}: module {tuple(state[key].shape)}, manifest {value.shape}")
            state[key].copy_(torch.from_numpy(value))
    return module


def test_image(tag, height, width, block=16):  # noqa: PT028
    """uint8 RGB image (H, W, 3) = (6 * coarse + 2 * fine) // 8, integer arithmetic only.

    coarse: one byte per channel and block x block cell, SHAKE-256 of "tag|coarse", order (row, column, channel);
    fine: one byte per value, SHAKE-256 of "tag|fine".
    """
    gh, gw = -(-height // block), -(-width // block)
    coarse = np.frombuffer(hashlib.shake_256(f"{tag}|coarse".encode()).digest(gh * gw * 3), np.uint8)
    coarse = coarse.reshape(gh, gw, 3).repeat(block, 0).repeat(block, 1)[:height, :width]
    fine = np.frombuffer(hashlib.shake_256(f"{tag}|fine".encode()).digest(height * width * 3), np.uint8)
    fine = fine.reshape(height, width, 3)
    return ((6 * coarse.astype(np.int64) + 2 * fine.astype(np.int64)) // 8).astype(np.uint8)


def summary(x):
    """float64 [mean, std, min, max, sum|x|, sum x^2] of an array."""
    x = np.asarray(x, dtype=np.float64)
    return np.array([x.mean(), x.std(), x.min(), x.max(), np.abs(x).sum(), (x * x).sum()])
