"""What the golden generators share: a deterministic safetensors writer, and paths.

The writer is not safetensors.torch.save_file because that one writes the
metadata in the order of a hash table: the same run twice would give two files.

A generator imports this module before any other: it moves this folder to the
end of sys.path, so that a script here called gguf.py or safetensors.py does
not hide the package of that name.
"""

import hashlib
import json
import os
import pathlib
import struct
import sys

# Sets become lists in PEFT's JSON, in the order of their strings' hashes.
if os.environ.get("PYTHONHASHSEED") != "0":
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:] = [p for p in sys.path if pathlib.Path(p).resolve() != _HERE] + [str(_HERE)]

import numpy as np
import torch

ROOT = _HERE.parent
MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"

_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.int64: "I64",
}


def setup(seed):
    """Deterministic torch on the CPU: one place for what every generator needs."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def script_sha256():
    return hashlib.sha256(pathlib.Path(sys.argv[0]).read_bytes()).hexdigest()


def versions(*names):
    """The versions that a golden's metadata names."""
    import importlib.metadata

    return {n: importlib.metadata.version(n) for n in ("torch",) + names}


def provenance(seed, *packages):
    """The keys that every golden carries: script, its hash, versions, seed."""
    out = {
        "script": "testdata/gen/" + pathlib.Path(sys.argv[0]).name,
        "script_sha256": script_sha256(),
        "seed": str(seed),
    }
    for name, version in versions(*packages).items():
        out[name + "_version"] = version
    return out


def raw(t):
    t = t.detach().contiguous().cpu()
    if t.dtype == torch.bfloat16:
        return t.view(torch.int16).numpy().tobytes()
    return t.numpy().tobytes()


def write(path, tensors, metadata=None, finite=True):
    """Writes tensors (name to torch.Tensor) as a safetensors file, names sorted."""
    header, body, at = {}, [], 0
    if metadata:
        header["__metadata__"] = {k: metadata[k] for k in sorted(metadata)}
    for name in sorted(tensors):
        t = tensors[name]
        if finite and t.dtype.is_floating_point:
            assert torch.isfinite(t.float()).all(), f"{path}: {name} is not finite"
        b = raw(t)
        header[name] = {
            "dtype": _NAMES[t.dtype],
            "shape": list(t.shape),
            "data_offsets": [at, at + len(b)],
        }
        body.append(b)
        at += len(b)
    h = json.dumps(header, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(h)) + h + b"".join(body))


def write_json(path, value):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=False, allow_nan=False) + "\n")


def rel(a, b):
    """|a − b| / |b| over the whole tensor, in F64."""
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-300))


def i32(t):
    return torch.as_tensor(np.asarray(t), dtype=torch.int32)
