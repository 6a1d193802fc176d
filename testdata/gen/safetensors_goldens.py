#!/usr/bin/env python3
"""Goldens for format/safetensors, into testdata/safetensors:

all.safetensors      every element type, odd names, scalars, empty tensors, as safetensors.torch.save_file writes them
floats.safetensors   F32 values (ties, subnormals, overflows, infinities) and what PyTorch makes of them in BF16 and F16
cases.json           small files, good and bad, with the reference implementation's verdict
index.json           how transformers/huggingface_hub distribute tensors over shards

Deterministic: python3 testdata/gen/safetensors_goldens.py
"""
import json
import os
import warnings

import huggingface_hub
import safetensors
import safetensors.torch
import torch
from huggingface_hub import split_torch_state_dict_into_shards

warnings.simplefilter("ignore")
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "safetensors")
VERSIONS = {
    "script": "testdata/gen/safetensors_goldens.py",
    "torch": torch.__version__,
    "safetensors": safetensors.__version__,
    "huggingface_hub": huggingface_hub.__version__,
    "seed": "none: all values are written out",
}

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "F8_E5M2": torch.float8_e5m2, "F8_E4M3": torch.float8_e4m3fn,
    "I16": torch.int16, "U16": torch.uint16, "F16": torch.float16, "BF16": torch.bfloat16, "I32": torch.int32,
    "U32": torch.uint32, "F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "U64": torch.uint64,
}


def every_type():
    t = {}
    for name, dt in DTYPES.items():
        # bytes 1, 2, 3, … whatever the type (0 and 1 for BOOL)
        width = torch.zeros(1).to(dt).element_size()
        n = 6 * width
        raw = torch.arange(1, n + 1).remainder(2 if dt == torch.bool else 256).to(torch.uint8)
        t[f"z.{name}"] = raw.view(dt).reshape(2, 3)
        t[f"a.{name}"] = raw[:width].clone().view(dt).reshape(())
    t["empty.first"] = torch.zeros(0)
    t["empty.second"] = torch.zeros(3, 0, 2, dtype=torch.int64)
    t['name "quoted" \\ \n\t\b\f\r\x01\x7f </&> \u00fc \u2028 \U0001F600'] = torch.tensor([1.5])
    t[""] = torch.tensor([2.5, 3.5])
    safetensors.torch.save_file(t, os.path.join(OUT, "all.safetensors"), metadata={"format": "pt"})


def floats():
    bits = [0, 1, 0x7FFFFF, 0x800000, 0x33000000, 0x33000001, 0x32FFFFFF, 0x33800000, 0x33C00000, 0x34200000, 0x387FC000,
            0x387FE000, 0x387FF000, 0x38800000, 0x38801000, 0x38803000, 0x38801001, 0x3F800000, 0x3F800800, 0x3F801000,
            0x3F801001, 0x3F803000, 0x3F808000, 0x3F808001, 0x3F818000, 0x3F7FFFFF, 0x477FE000, 0x477FEFFF, 0x477FF000,
            0x477FF001, 0x47800000, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000, 0x40490FDB, 0xC2F6E979, 0x007F8000, 0x00008000]
    bits += [b | 0x80000000 for b in bits]
    x = torch.tensor([b - (1 << 32) if b >= 1 << 31 else b for b in bits], dtype=torch.int32).view(torch.float32)
    safetensors.torch.save_file({"x": x, "bf16": x.to(torch.bfloat16), "f16": x.to(torch.float16)},
                                os.path.join(OUT, "floats.safetensors"), metadata={k: v for k, v in VERSIONS.items() if k == "script"})


def cases():
    a = '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    b = '"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}'
    headers = [  # (header, bytes of data, header length or None for the true one)
        ("{" + a + "}", 1, None),
        ("{" + b + "," + a + "}", 3, None),
        (" {" + a + "}", 1, None),
        ("{" + a + "}\n\t\r ", 1, None),
        ("{}", 0, None),
        ('{"__metadata__":{"format":"pt"}}', 0, None),
        ('{"__metadata__":null,' + a + "}", 1, None),
        ('{"__metadata__":{},' + a + "}", 1, None),
        ('{"__metadata__":{"a":1},' + a + "}", 1, None),
        ('{"__metadata__":["a"],' + a + "}", 1, None),
        ('{"__metadata__":{},"__metadata__":{},' + a + "}", 1, None),
        ('{"__metadata__":{"a":"1","a":"2"},' + a + "}", 1, None),
        ("{" + a + "," + a + "}", 1, None),
        ("{" + a + ',"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}', 1, None),
        ("{" + a + "}x", 1, None),
        ("{" + a + "}{}", 1, None),
        ("{" + a + ",}", 1, None),
        ("{" + a, 1, None),
        ("[]", 0, None),
        ("null", 0, None),
        ("", 0, None),
        ('{"x":1,' + a + "}", 1, None),
        ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":[{}]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[1],"dtype":"U8","data_offsets":[0,1]}}', 1, None),
        ('{"a":["U8",[1],[0,1]]}', 1, None),
        ('{"a":{"DType":"U8","shape":[1],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"u8","shape":[1],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"Q4_0","shape":[32],"data_offsets":[0,18]}}', 18, None),
        ('{"a":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}', 8, None),
        ('{"a":{"dtype":1,"shape":[1],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"shape":[1],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', 0, None),
        ('{"a":{"dtype":"U8","shape":[0,4294967296],"data_offsets":[0,0]}}', 0, None),
        ('{"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}', 0, None),
        ('{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}', 0, None),
        ('{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}', 0, None),
        ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,2]}}', 2, None),
        ('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', 1, None),
        ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', 2, None),
        ("{" + a + ',"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', 2, None),
        ("{" + a + ',"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1, None),
        ("{" + a + ',"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}', 3, None),
        ("{" + a + ',"b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"c":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}', 1, None),
        ("{" + a + "}", 0, None),
        ("{" + a + "}", 2, None),
        ('{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1, None),
        ("{" + a + "}", 1, 1 << 63),
        ("{" + a + "}", 1, 1 << 40),
        ("{" + a + "}", 1, 100000001),
        ("{" + a + "}", 1, 100000000),
        ("{" + a + "}", 1, 60),
        ("{" + a + "}", 1, 51),
        ("{" + a + "}", 1, 0),
        ("{" + a + "}", 1, (1 << 64) - 1),
        ("{" + a + "}", 1, (1 << 64) - 8),
    ]
    out = []
    for header, n, length in headers:
        h = header.encode()
        file = (len(h) if length is None else length).to_bytes(8, "little") + h + bytes(n)
        try:
            safetensors.deserialize(file)
            verdict = "ok"
        except safetensors.SafetensorError as e:
            verdict = str(e)
        out.append({"file": file.hex(), "header": header, "reference": verdict})
    with open(os.path.join(OUT, "cases.json"), "w") as f:
        json.dump({"made_by": VERSIONS, "cases": out}, f, indent=1)
        f.write("\n")


def shards():
    sizes = {"head": 3, "a": 10, "layer.0": 4, "layer.1": 4, "layer.2": 5, "big": 40, "norm": 1, "empty": 0}
    out = []
    for limit in (4, 16, 20, 32, 40, 64, 160, 1000):
        s = split_torch_state_dict_into_shards({k: torch.zeros(n) for k, n in sizes.items()}, max_shard_size=limit)
        index = {"metadata": {"total_parameters": sum(sizes.values()), **s.metadata}, "weight_map": s.tensor_to_filename}
        out.append({"limit": limit, "files": s.filename_to_tensors,
                    "index": json.dumps(index, indent=2, sort_keys=True) + "\n" if s.is_sharded else ""})
    with open(os.path.join(OUT, "index.json"), "w") as f:
        json.dump({"made_by": VERSIONS, "sizes": list(sizes.items()), "cases": out}, f, indent=1)
        f.write("\n")


os.makedirs(OUT, exist_ok=True)
every_type()
floats()
cases()
shards()
