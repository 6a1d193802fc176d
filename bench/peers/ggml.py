"""Products of one row with weights of ggml's types, by ggml as llama-cpp-python brings it.
Run by bench/compare (see serve.py).

	python bench/peers/ggml.py --threads 2
	{"types": ["q4_0", "q4_K", "iq4_nl"], "n": 4096, "k": 4096, "reps": 100}
	{"types": ["iq4_nl"], "n": 4096, "k": 4096, "out_prod": 16, "reps": 1}

The weights are many equal matrices, 192 MB together, that one graph goes through, as a
decoded token does. 4-bit types are in the interleaved form that llama.cpp gives them
when it loads a file. Of several types the fastest counts. With out_prod it is instead the
product of so many rows [n] with one matrix [n, k], as the gradient of a product has it.
"""

import argparse
import ctypes
import os
import time

import numpy as np

import llama_cpp
from serve import serve

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

lib = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
base = ctypes.CDLL(os.path.join(lib, "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
cpu = ctypes.CDLL(os.path.join(lib, "libggml-cpu.so"))
P, I, L, Z = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t


class Init(ctypes.Structure):
    _fields_ = [("mem_size", Z), ("mem_buffer", P), ("no_alloc", ctypes.c_bool)]


def function(library, name, result, *arguments):
    f = getattr(library, name)
    f.restype, f.argtypes = result, arguments
    return f


init = function(base, "ggml_init", P, Init)
free = function(base, "ggml_free", None, P)
new_tensor = function(base, "ggml_new_tensor_2d", P, P, I, L, L)
mul_mat = function(base, "ggml_mul_mat", P, P, P, P)
out_prod = function(base, "ggml_out_prod", P, P, P, P)
new_graph = function(base, "ggml_new_graph", P, P)
expand = function(base, "ggml_build_forward_expand", None, P, P)
allocate = function(base, "ggml_backend_alloc_ctx_tensors_from_buft", P, P, P)
free_buffer = function(base, "ggml_backend_buffer_free", None, P)
tensor_set = function(base, "ggml_backend_tensor_set", None, P, P, Z, Z)
compute = function(base, "ggml_backend_graph_compute", I, P, P)
quantize = function(base, "ggml_quantize_chunk", Z, I, P, P, L, L, L, P)
row_size = function(base, "ggml_row_size", Z, I, L)
plain = function(base, "ggml_backend_cpu_buffer_type", P)
repacked = function(cpu, "_Z35ggml_backend_cpu_repack_buffer_typev", P)
backend = function(cpu, "ggml_backend_cpu_init", P)()
function(cpu, "ggml_backend_cpu_set_n_threads", None, P, I)(backend, args.threads)

TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 8, "q4_K": 12, "q6_K": 14, "iq4_nl": 20, "bf16": 30}
INTERLEAVED = ("q4_0", "q4_K", "iq4_nl")
ROTATED = 192 << 20

made = {}  # graphs by type and shape


def graph(kind, n, k, rows):
    """A graph of products with as many matrices as fill ROTATED, and their number; with
    rows, of one OUT_PROD."""
    if (kind, n, k, rows) in made:
        return made[kind, n, k, rows]
    size = row_size(TYPES[kind], k) * n
    count = 1 if rows else -(-ROTATED // size)
    x = np.random.default_rng(0).uniform(-1, 1, n * k).astype(np.float32)
    data = ctypes.create_string_buffer(size)
    if kind == "f32":
        ctypes.memmove(data, x.ctypes.data, size)
    else:
        quantize(TYPES[kind], x.ctypes.data, data, 0, n, k, None)
    contexts = [init(Init(64 << 20, None, True)) for _ in range(2)]
    weights = [new_tensor(contexts[0], TYPES[kind], k, n) for _ in range(count)]
    buffers = [allocate(contexts[0], repacked() if kind in INTERLEAVED and not rows else plain())]
    for w in weights:
        tensor_set(w, data, 0, size)
    row = new_tensor(contexts[1], 0, rows, n) if rows else new_tensor(contexts[1], 0, k, 1)
    g = new_graph(contexts[1])
    for w in weights:
        expand(g, (out_prod if rows else mul_mat)(contexts[1], w, row))
    buffers.append(allocate(contexts[1], plain()))
    tensor_set(row, x.ctypes.data, 0, 4 * (rows * n or k))
    made[kind, n, k, rows] = g, count
    compute(backend, g)
    return g, count


def run(types, n, k, reps, out_prod=0):
    """Seconds of one product, of the fastest of the types."""
    best = float("inf")
    for kind in types:
        g, count = graph(kind, n, k, out_prod)
        times = max(1, reps // count)
        start = time.perf_counter()
        for _ in range(times):
            compute(backend, g)
        best = min(best, (time.perf_counter() - start) / times / count)
    return best


serve({"peer": "ggml", "version": "llama-cpp-python " + llama_cpp.__version__}, run)
