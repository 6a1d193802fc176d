#!/usr/bin/env python3
"""Goldens for the block types of tensor and format/gguf beyond Q4_0, Q4_1 and Q8_0, into testdata/gguf:

kblocks.gguf         of each type: blocks of random bits, with ordinary, subnormal, infinite and NaN scales, and weights
                     as a quantiser stores them (gguf-py's for Q5_0 and Q5_1, llama.cpp's for the others)
kblocks.safetensors  what gguf-py dequantises them to; llama.cpp's own dequantize_row gives the same bits, or this fails

Needs gguf, numpy, safetensors and llama-cpp-python (for llama.cpp's libggml-base.so).
Deterministic: python3 testdata/gen/gguf_blocks.py
"""
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import json
import os

import numpy as np
import safetensors.numpy
from gguf import GGMLQuantizationType as Q
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "gguf")
SEED = 20240301
MADE_BY = {
    "script": "testdata/gen/gguf_blocks.py",
    "script_sha256": hashlib.sha256(open(os.path.abspath(__file__), "rb").read()).hexdigest(),
    "seed": str(SEED),
} | {n: importlib.metadata.version(n) for n in ("gguf", "llama-cpp-python", "numpy", "safetensors")}
# Each type, where its block has F16 numbers, and its name in llama.cpp's functions.
TYPES = (
    (Q.Q5_0, (0,), "q5_0"),
    (Q.Q5_1, (0, 2), "q5_1"),
    (Q.Q2_K, (80, 82), "q2_K"),
    (Q.Q3_K, (108,), "q3_K"),
    (Q.Q4_K, (0, 2), "q4_K"),
    (Q.Q5_K, (0, 2), "q5_K"),
    (Q.Q6_K, (208,), "q6_K"),
    (Q.IQ4_NL, (0,), "iq4_nl"),
)
# Halves that matter as a scale: zeros, subnormals, the smallest normal, ordinary ones, the largest, Inf, NaN.
SPECIAL = np.array([0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x2E66, 0xAE66, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF,
                    0x7C00, 0xFC00, 0x7E00, 0x7C01], dtype="<u2")
rng = np.random.default_rng(SEED)
ggml = ctypes.CDLL(os.path.join(os.path.dirname(importlib.util.find_spec("llama_cpp").origin), "lib", "libggml-base.so"))
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t


def pointer(x):
    assert x.flags.c_contiguous
    return ctypes.c_void_p(x.ctypes.data)


def ggml_quantize(x, typ):
    block, size = GGML_QUANT_SIZES[typ]
    rows, cols = x.shape
    to = np.zeros((rows, cols // block * size), dtype=np.uint8)
    n = ggml.ggml_quantize_chunk(ctypes.c_int(typ.value), pointer(x), pointer(to), ctypes.c_int64(0), ctypes.c_int64(rows), ctypes.c_int64(cols), None)
    assert n == to.nbytes
    return to


def decoded(data, typ, name):
    with np.errstate(all="ignore"):
        want = np.ascontiguousarray(dequantize(data, typ), dtype=np.float32)
    got = np.empty_like(want)
    getattr(ggml, f"dequantize_row_{name}")(pointer(data), pointer(got), ctypes.c_int64(got.size))
    same = (got.view(np.uint32) == want.view(np.uint32)) | (np.isnan(got) & np.isnan(want))
    assert same.all(), f"{typ.name}: gguf-py and llama.cpp differ in {(~same).sum()} of {same.size}"
    return want


w = GGUFWriter(os.path.join(OUT, "kblocks.gguf"), "llama")
want = {}
for typ, scales, name in TYPES:
    block, size = GGML_QUANT_SIZES[typ]
    n = 24
    data = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for k, at in enumerate(scales):
        data[:16, at:at + 2] = (SPECIAL if k == 0 else SPECIAL[rng.permutation(16)]).view(np.uint8).reshape(16, 2)
        ordinary = rng.standard_normal(n - 16).astype(np.float16) / 32
        data[16:, at:at + 2] = ordinary.view(np.uint8).reshape(-1, 2)
    w.add_tensor(typ.name, data, raw_dtype=typ)
    want[typ.name] = decoded(data, typ, name)

    # Ordinary weights: rows of their own size, a few outliers, a row of zeros.
    x = (rng.standard_normal((4, 256)) * [[0.02], [1], [0.3], [0]]).astype(np.float32)
    x[0, rng.integers(0, 256, 3)] *= 20
    data = quantize(x, typ) if typ in (Q.Q5_0, Q.Q5_1) else ggml_quantize(x, typ)
    w.add_tensor(f"normal.{typ.name}", data, raw_dtype=typ)
    y = want[f"normal.{typ.name}"] = decoded(data, typ, name)
    error = np.sqrt(((x - y) ** 2).mean() / (x ** 2).mean())
    print(f"{typ.name}: relative error of the quantised weights {error:.4f}")
    assert error < 0.4
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
safetensors.numpy.save_file(want, os.path.join(OUT, "kblocks.safetensors"), metadata={"made_by": json.dumps(MADE_BY)})
os.chmod(os.path.join(OUT, "kblocks.safetensors"), 0o644)
