#!/usr/bin/env python3
"""Golden for format/gguf: testdata/gguf/names.json has, for each family, llama.cpp's architecture and the name that
gguf-py's tensor map gives each tensor of a transformers model of that family (with all biases that it may have).

Deterministic: python3 testdata/gen/gguf_names.py
"""
import hashlib
import importlib.metadata
import json
import os

import torch
import transformers
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

HERE = os.path.dirname(os.path.abspath(__file__))
LAYERS = 2
SIZES = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=LAYERS, num_attention_heads=2, num_key_value_heads=1,
             vocab_size=8, tie_word_embeddings=False)
FAMILIES = (
    ("llama", MODEL_ARCH.LLAMA, transformers.LlamaConfig(**SIZES)),
    ("llama-bias", MODEL_ARCH.LLAMA, transformers.LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
    ("mistral", MODEL_ARCH.LLAMA, transformers.MistralConfig(**SIZES)),
    ("qwen2", MODEL_ARCH.QWEN2, transformers.Qwen2Config(**SIZES)),
    ("qwen3", MODEL_ARCH.QWEN3, transformers.Qwen3Config(**SIZES, head_dim=4)),
    ("qwen3-bias", MODEL_ARCH.QWEN3, transformers.Qwen3Config(**SIZES, head_dim=4, attention_bias=True)),
)
families = []
for family, arch, config in FAMILIES:
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    names = get_tensor_name_map(arch, LAYERS)
    tensors = {}
    for hf in sorted(model.state_dict()):
        name = names.get_name(hf, try_suffixes=(".weight", ".bias"))
        assert name is not None, f"{family}: {hf} has no name"
        tensors[hf] = name
    families.append({"family": family, "architecture": MODEL_ARCH_NAMES[arch], "tensors": tensors})
made_by = {
    "script": "testdata/gen/gguf_names.py",
    "script_sha256": hashlib.sha256(open(os.path.abspath(__file__), "rb").read()).hexdigest(),
} | {n: importlib.metadata.version(n) for n in ("gguf", "torch", "transformers")}
with open(os.path.join(HERE, "..", "gguf", "names.json"), "w") as f:
    json.dump({"made_by": made_by, "families": families}, f, indent=1)
    f.write("\n")
