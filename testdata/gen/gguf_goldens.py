#!/usr/bin/env python3
"""Goldens for format/gguf, into testdata/gguf:

types.gguf           every metadata type and a tensor of many types, alignment 64, written by gguf-py
types.json           what gguf-py reads from it
blocks.gguf          blocks of random bits of each type that tenon decodes, with ordinary, subnormal, infinite and NaN scales
blocks.safetensors   what gguf-py dequantises them to
llama.gguf           attention weights and biases with rows in llama.cpp's order
llama.safetensors    the same in Hugging Face's order
smollm2.json         what gguf-py reads from SmolLM2-135M-Instruct.Q4_1.gguf (written only if testdata/fetch-smollm2.sh has fetched it)

Deterministic: python3 testdata/gen/gguf_goldens.py
"""
import hashlib
import importlib.metadata
import json
import os

import numpy as np
import safetensors.numpy
from gguf import GGMLQuantizationType as Q
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "gguf")
SMOLLM2 = os.path.join(HERE, "..", "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
SEED = 20240229
VERSIONS = {
    "script": "testdata/gen/gguf_goldens.py",
    "gguf": importlib.metadata.version("gguf"),
    "numpy": np.__version__,
    "seed": str(SEED),
}
rng = np.random.default_rng(SEED)


def out(name):
    return os.path.join(OUT, name)


def writer(name, arch="llama"):
    return GGUFWriter(out(name), arch)


def close(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def raw(w, name, typ, rows, cols, data=None):
    """Adds a tensor of rows x cols elements, of random bits unless data are given."""
    block, size = GGML_QUANT_SIZES[typ]
    if data is None:
        data = rng.integers(0, 256, (rows, cols // block * size), dtype=np.uint8)
    w.add_tensor(name, data, raw_dtype=typ)
    return data


def plain(v):
    """A value as JSON has it; floats as their hexadecimal, so that NaN and Inf pass."""
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    if isinstance(v, float):
        return v.hex()
    return v


def describe(path):
    r = GGUFReader(path)
    meta = []
    for f in r.fields.values():
        if f.name.startswith("GGUF."):
            continue
        kinds = [t.name for t in f.types]
        v = plain(f.contents())
        if isinstance(v, list) and len(v) > 16:  # vocabularies: their length and digest
            digest = hashlib.sha256("\n".join(str(x) for x in v).encode()).hexdigest()
            v = {"len": len(v), "sha256": digest, "first": v[:4]}
        meta.append({"key": f.name, "types": kinds, "value": v})
    tensors = [{"name": t.name, "type": t.tensor_type.name, "shape": [int(d) for d in reversed(t.shape)],
                "sha256": hashlib.sha256(t.data.tobytes()).hexdigest()} for t in r.tensors]
    return r, {"made_by": VERSIONS, "metadata": meta, "tensors": tensors}


def dump(name, v):
    with open(out(name), "w") as f:
        json.dump(v, f, indent=1)
        f.write("\n")


def types():
    w = writer("types.gguf")
    w.add_custom_alignment(64)
    w.add_uint8("t.uint8", 200)
    w.add_int8("t.int8", -100)
    w.add_uint16("t.uint16", 60000)
    w.add_int16("t.int16", -30000)
    w.add_uint32("t.uint32", 4000000000)
    w.add_int32("t.int32", -2000000000)
    w.add_uint64("t.uint64", 1 << 63)
    w.add_int64("t.int64", -(1 << 62))
    w.add_float32("t.float32", 0.1)
    w.add_float64("t.float64", 0.1)
    w.add_bool("t.true", True)
    w.add_bool("t.false", False)
    w.add_string("t.string", "na\u00efve \U0001F600\n")
    w.add_string("t.string.zero", "a\x00b")
    w.add_array("t.strings", ["", "a", "\u0120the"])
    w.add_array("t.int32s", [-1, 0, 7])
    w.add_array("t.float32s", [0.5, -0.25])
    w.add_array("t.bools", [True, False])
    w.add_key_value("t.uint8s", [1, 2, 255], GGUFValueType.ARRAY, sub_type=GGUFValueType.UINT8)
    w.add_key_value("t.int64s", [1, -(1 << 40)], GGUFValueType.ARRAY, sub_type=GGUFValueType.INT64)
    w.add_key_value("t.float64s", [0.1, 3.0], GGUFValueType.ARRAY, sub_type=GGUFValueType.FLOAT64)
    w.add_array("t.nested", [[1, 2], [3]])
    for typ, cols in ((Q.F32, 3), (Q.F16, 5), (Q.BF16, 5), (Q.F64, 3), (Q.I8, 7), (Q.I16, 3), (Q.I32, 3), (Q.I64, 3), (Q.Q4_0, 32),
                      (Q.Q4_1, 64), (Q.Q5_0, 32), (Q.Q5_1, 32), (Q.Q8_0, 32), (Q.Q6_K, 256), (Q.IQ4_NL, 32), (Q.MXFP4, 32)):
        if typ in (Q.F32, Q.F16, Q.F64, Q.I8, Q.I16, Q.I32, Q.I64):
            dt = {Q.F32: "f4", Q.F16: "f2", Q.F64: "f8", Q.I8: "i1", Q.I16: "i2", Q.I32: "i4", Q.I64: "i8"}[typ]
            w.add_tensor(f"t.{typ.name}", np.arange(2 * cols).reshape(2, cols).astype(dt))
        else:
            raw(w, f"t.{typ.name}", typ, 2, cols)
    w.add_tensor("t.4d", np.arange(24, dtype="f4").reshape(2, 3, 1, 4))
    w.add_tensor("t.1d", np.arange(3, dtype="f4"))
    close(w)
    dump("types.json", describe(out("types.gguf"))[1])


def blocks():
    w = writer("blocks.gguf")
    # halves that matter as a scale: zeros, subnormals, the smallest normal, ordinary, the largest, Inf, NaN
    special = np.array([0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x2E66, 0xAE66, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF,
                        0x7C00, 0xFC00, 0x7E00, 0x7C01], dtype="<u2")
    want = {}
    for typ in (Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q8_0):
        block, size = GGML_QUANT_SIZES[typ]
        n = 48
        data = rng.integers(0, 256, (n, 32 // block * size), dtype=np.uint8)
        if block > 1:
            data[:16, :2] = special.view(np.uint8).reshape(16, 2)
            if typ == Q.Q4_1:
                data[:16, 2:4] = special[rng.permutation(16)].view(np.uint8).reshape(16, 2)
            # all codes in one block
            data[16, size - 16:] = np.arange(16, dtype=np.uint8) * 17
        elif typ == Q.F16:
            data[0, :32] = special.view(np.uint8)
        raw(w, typ.name, typ, n, 32, data)
        with np.errstate(all="ignore"):
            want[typ.name] = np.ascontiguousarray(dequantize(data.view(np.float16) if typ == Q.F16 else data, typ).astype(np.float32).reshape(n, 32))
    # and what a quantiser makes of ordinary weights
    x = rng.standard_normal((8, 64)).astype(np.float32)
    for typ in (Q.F32, Q.Q4_0, Q.Q4_1, Q.Q8_0):
        data = x if typ == Q.F32 else quantize(x, typ)
        w.add_tensor(f"normal.{typ.name}", data, raw_dtype=typ)
        want[f"normal.{typ.name}"] = x if typ == Q.F32 else dequantize(data, typ)
    close(w)
    safetensors.numpy.save_file(want, out("blocks.safetensors"), metadata={"made_by": json.dumps(VERSIONS)})


def permute(w, heads):
    """llama.cpp's order of rows (LlamaModel.permute of convert_hf_to_gguf.py, in other words)."""
    rows = w.shape[0]
    d = rows // heads
    order = [h * d + i * (d // 2) + j for h in range(heads) for j in range(d // 2) for i in range(2)]
    got = w[order]
    assert (got == w.reshape(heads, 2, d // 2, -1).swapaxes(1, 2).reshape(w.shape)).all()
    return got


def llama():
    w = writer("llama.gguf")
    heads, kv, d, cols = 4, 2, 6, 64
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    hf = {}
    for name, n in (("q", heads), ("k", kv)):
        x = rng.standard_normal((n * d, cols)).astype(np.float32)
        b = rng.standard_normal(n * d).astype(np.float32)
        hf[f"f32.{name}.weight"], hf[f"f32.{name}.bias"] = x, b
        hf[f"q8_0.{name}.weight"] = quantize(x, Q.Q8_0)
        w.add_tensor(f"f32.{name}.weight", permute(x, n))
        w.add_tensor(f"f32.{name}.bias", permute(b, n))
        w.add_tensor(f"q8_0.{name}.weight", quantize(permute(x, n), Q.Q8_0), raw_dtype=Q.Q8_0)
    close(w)
    safetensors.numpy.save_file(hf, out("llama.safetensors"), metadata={"made_by": json.dumps(VERSIONS)})


def smollm2():
    if not os.path.exists(SMOLLM2):
        return
    r, v = describe(SMOLLM2)
    h = hashlib.sha256()
    for t in r.tensors:
        h.update(dequantize(t.data, t.tensor_type).astype("<f4").tobytes())
    v["f32_sha256"] = h.hexdigest()  # of all tensors dequantised, in the file's order
    dump("smollm2.json", v)


os.makedirs(OUT, exist_ok=True)
types()
blocks()
llama()
smollm2()
