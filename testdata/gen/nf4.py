#!/usr/bin/env python3
"""Goldens for NF4 and FP4, by bitsandbytes on the CPU, into testdata/nf4:

cases.safetensors    small tensors in full: odd sizes, partial blocks, zeros, ties, subnormal, large and single numbers:
                     X.in, X.codes, X.absmax, X.out for X = nf4|fp4.block.name
streams.json         also the SHA-256 of a stream in Q8_0, by gguf-py and llama.cpp; SHA-256 of codes, absmax and decoded values (F32, BF16, F16) of streams of numbers that both sides make
                     (stream below), for each type and block
double.safetensors   what double quantisation gives for such a stream: absmax codes, nested absmax, offset, map, and
                     the scales that they stand for

Decoding is done by the definition, bitsandbytes' default (all-torch) implementation: its AVX-512 kernel takes the wrong
scales where rows are not whole blocks. Where they are, the script checks that the two agree.

Deterministic: python3 testdata/gen/nf4.py
"""
import golden  # first

import ctypes
import hashlib
import importlib.util
import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # the all-torch decoder would be compiled

import bitsandbytes.functional as F
import numpy as np
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from gguf import GGMLQuantizationType
from gguf.quants import quantize

SEED = 4
OUT = golden.ROOT / "nf4"
BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
golden.setup(SEED)
golden._NAMES[torch.uint8] = "U8"


def stream(seed, n):
    """n numbers, about normal: of the 64 bits of SplitMix64, the sum of four 16-bit parts, less its mean, as F32, times a
    factor 1 + k/2^23 from the next number. One rounding each: the same on every machine."""
    i = np.arange(2 * n, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (i + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    a, b = z[0::2], z[1::2]
    s = sum(((a >> np.uint64(16 * k)) & np.uint64(0xFFFF)).astype(np.int64) for k in range(4)) - 131070
    x = s.astype(np.float32) * np.float32(2.0**-15)
    f = np.float32(1) + (b >> np.uint64(41)).astype(np.float32) * np.float32(2.0**-23)
    return torch.from_numpy(x * f)


def decode(packed, absmax, block, kind, n, dtype=torch.float32):
    code = F.get_4bit_type(kind, device="cpu")
    return _dequantize_4bit_compute(packed.reshape(-1), absmax, code, block, (n,), dtype)


def encode(x, block, kind):
    packed, state = F.quantize_4bit(x, blocksize=block, quant_type=kind, compress_statistics=False)
    out = decode(packed, state.absmax, block, kind, x.numel())
    if x.numel() % block == 0 and block < 2048:
        assert torch.equal(out, F.dequantize_4bit(packed, state).reshape(-1)), (kind, block)
    return packed.reshape(-1), state.absmax, out


def sha(t):
    return hashlib.sha256(golden.raw(t)).hexdigest()


def cases(block, kind):
    code = F.get_4bit_type(kind, device="cpu")
    order = torch.sort(code).values
    mid = (order[:-1] + order[1:]) / 2
    near = torch.cat([mid, torch.nextafter(mid, torch.tensor(-2.0)), torch.nextafter(mid, torch.tensor(2.0)), code, torch.tensor([-0.0])])
    g = torch.Generator().manual_seed(SEED)
    yield "one", torch.tensor([-0.3])
    yield "odd", torch.randn(block + 7, generator=g)
    yield "partial", torch.randn(block + block // 2, generator=g)
    yield "zeros", torch.zeros(2 * block + 3)
    ties = torch.zeros(2 * block) # in whole blocks whose scale is 1, and a partial one
    for b in range(2):
        part = near.roll(-b * (block - 1))[: block - 1]
        ties[b * block : b * block + len(part)] = part
        ties[(b + 1) * block - 1] = 1
    yield "ties", torch.cat([ties, near[: block - 1 if block - 1 < len(near) else len(near)]])
    yield "scaled-ties", torch.cat([ties * 0.7, near[:21] * 3.3])
    small = torch.randn(2 * block + 5, generator=g) * 1e-41
    small[block : 2 * block] *= 1e3
    yield "subnormal", small
    large = torch.randn(2 * block + 5, generator=g)
    large = large / large.abs().max() * torch.finfo(torch.float32).max
    yield "large", large
    mixed = torch.zeros(block)
    mixed[3], mixed[5] = 1e-30, -0.0
    yield "tiny", mixed


tensors, streams = {}, []
for kind in ("nf4", "fp4"):
    for block in BLOCKS:
        if block in (32, 64, 128):
            for name, x in cases(block, kind):
                packed, absmax, out = encode(x, block, kind)
                key = f"{kind}.{block}.{name}"
                tensors |= {key + ".in": x, key + ".codes": packed, key + ".absmax": absmax, key + ".out": out}
        n = 131072 + block // 2 + 1
        seed = len(streams) + 1
        x = stream(seed, n)
        packed, absmax, out = encode(x, block, kind)
        streams.append({"type": kind, "block": block, "seed": seed, "n": n, "in": sha(x), "codes": sha(packed), "absmax": sha(absmax),
                        "f32": sha(out), "bf16": sha(out.to(torch.bfloat16)), "f16": sha(out.to(torch.float16))})

meta = golden.provenance(SEED, "bitsandbytes", "numpy")
golden.write(OUT / "cases.safetensors", tensors, meta)

# Q8_0, with large and tiny blocks among the others.
seed, n = 99, 131072
x = stream(seed, n).numpy()
x[32:64] *= np.float32(1e4)
x[64:96] *= np.float32(1e-6)
x[96:128] = 0
q8 = quantize(x, GGMLQuantizationType.Q8_0)
ggml = ctypes.CDLL(os.path.join(os.path.dirname(importlib.util.find_spec("llama_cpp").origin), "lib", "libggml-base.so"))
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
theirs = np.zeros_like(q8)
assert ggml.ggml_quantize_chunk(ctypes.c_int(8), x.ctypes.data_as(ctypes.c_void_p), theirs.ctypes.data_as(ctypes.c_void_p),
                                ctypes.c_int64(0), ctypes.c_int64(1), ctypes.c_int64(n), None) == q8.nbytes
assert (theirs == q8).all()
meta |= golden.versions("gguf", "llama-cpp-python")
golden.write_json(OUT / "streams.json", {"made_by": meta, "streams": streams, "q8_0": {"seed": seed, "n": n, "sha256": hashlib.sha256(q8.tobytes()).hexdigest()}})

double = {}
for kind, block in (("nf4", 64), ("fp4", 128), ("nf4", 32)):
    n, seed = 131072 + 65, 100 + block
    packed, state = F.quantize_4bit(stream(seed, n), blocksize=block, quant_type=kind, compress_statistics=True)
    scales = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
    out = decode(packed, scales, block, kind, n)
    key = f"{kind}.{block}"
    double |= {key + ".absmax": state.absmax, key + ".nested": state.state2.absmax, key + ".offset": state.offset.reshape(1),
               key + ".map": state.state2.code, key + ".scales": scales}
    meta |= {key: f"seed {seed}, {n} numbers, decoded SHA-256 {sha(out)}"}
golden.write(OUT / "double.safetensors", double, meta)
