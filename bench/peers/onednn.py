"""F32 matrix products by oneDNN's dnnl_sgemm. Run by bench/compare (see serve.py).

	OMP_NUM_THREADS=2 python bench/peers/onednn.py

The library is what the loader finds as libdnnl.so (Debian: libdnnl2), or the file that
ONEDNN names.
"""

import ctypes
import os
import time

import numpy as np

from serve import serve


def library():
    for name in [os.environ.get("ONEDNN"), "libdnnl.so.3", "libdnnl.so.2", "libdnnl.so"]:
        try:
            if name:
                return ctypes.CDLL(name)
        except OSError:
            pass
    raise SystemExit("no libdnnl.so is installed")


class Version(ctypes.Structure):
    _fields_ = [("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int)]


dnnl = library()
dnnl.dnnl_version.restype = ctypes.POINTER(Version)
dim, pointer, real = ctypes.c_int64, ctypes.c_void_p, ctypes.c_float
dnnl.dnnl_sgemm.argtypes = [ctypes.c_char, ctypes.c_char, dim, dim, dim, real, pointer, dim, pointer, dim, real, pointer, dim]
operands = {}


def run(op, m, n, k, reps):
    """Seconds of one product: matmul x·y, matmulT x·yᵀ, matmulTA xᵀ·y."""
    key = op, m, n, k
    if key not in operands:
        operands.clear()
        random = lambda *shape: np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        operands[key] = random(*((k, m) if op == "matmulTA" else (m, k))), random(*((n, k) if op == "matmulT" else (k, n))), np.empty((m, n), np.float32)
    x, y, z = operands[key]
    tx, ty = b"T" if op == "matmulTA" else b"N", b"T" if op == "matmulT" else b"N"
    args = tx, ty, m, n, k, 1, x.ctypes.data, x.shape[1], y.ctypes.data, y.shape[1], 0, z.ctypes.data, n
    dnnl.dnnl_sgemm(*args)  # code is generated for a shape when it is first met
    start = time.perf_counter()
    for _ in range(reps):
        dnnl.dnnl_sgemm(*args)
    return (time.perf_counter() - start) / reps


v = dnnl.dnnl_version().contents
serve({"peer": "oneDNN", "version": f"{v.major}.{v.minor}.{v.patch}"}, run)
