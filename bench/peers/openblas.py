"""F32 matrix product 1024³ by OpenBLAS, as numpy brings it, on 1 and 2 threads.

	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python bench/peers/openblas.py

Prints one JSON line a thread count: GFLOP/s, the median and the best of 40 products.
tenon's: go test ./tensor -run '^$' -bench 'Gemm/.*/f32/m=1024'.
"""

import json
import os
import statistics
import subprocess
import sys
import time


def measure(threads):
    import numpy as np

    n = 1024
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, n), dtype=np.float32) for _ in range(2))
    out = np.empty((n, n), np.float32)
    for _ in range(3):
        np.dot(a, b, out=out)
    times = []
    for _ in range(40):
        start = time.perf_counter()
        np.dot(a, b, out=out)
        times.append(time.perf_counter() - start)
    flop = 2 * n**3 / 1e9
    print(json.dumps(dict(peer="openblas", numpy=np.__version__, n=n, threads=threads,
                          gflops=round(flop / statistics.median(times), 1), gflops_best=round(flop / min(times), 1))))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
    else:
        for t in (1, 2):
            subprocess.run([sys.executable, __file__, str(t)], check=True, env=os.environ | {"OPENBLAS_NUM_THREADS": str(t)})
