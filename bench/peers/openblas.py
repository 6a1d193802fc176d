"""F32 matrix products by OpenBLAS, as numpy brings it. Run by bench/compare (see serve.py).

	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE OPENBLAS_NUM_THREADS=2 python bench/peers/openblas.py
	{"op": "matmulT", "m": 512, "n": 16, "k": 576, "reps": 100}
"""

import time

import numpy as np

from serve import serve

operands = {}


def run(op, m, n, k, reps):
    """Seconds of one product: matmul x·y, matmulT x·yᵀ, matmulTA xᵀ·y."""
    key = op, m, n, k
    if key not in operands:
        operands.clear()
        random = lambda *shape: np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        x = random(k, m).T if op == "matmulTA" else random(m, k)
        y = random(n, k).T if op == "matmulT" else random(k, n)
        operands[key] = x, y, np.empty((m, n), np.float32)
        np.dot(x, y, out=operands[key][2])
    x, y, z = operands[key]
    start = time.perf_counter()
    for _ in range(reps):
        np.dot(x, y, out=z)
    return (time.perf_counter() - start) / reps


blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
serve({"peer": "OpenBLAS", "version": f"{blas['version']} (numpy {np.__version__})"}, run)
