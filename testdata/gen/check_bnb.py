#!/usr/bin/env python3
"""Loads a checkpoint that tenon quantised with transformers and bitsandbytes, and compares the model's logits with those
that `tenon logits` gives (rows are whole blocks: bitsandbytes' AVX-512 kernel decodes others wrongly):

    tenon quantize --model DIR --to nf4 --double-quant --out QDIR
    tenon logits --model QDIR --tokens 5,6,7,8 --out LOGITS.safetensors
    python3 testdata/gen/check_bnb.py QDIR LOGITS.safetensors 5,6,7,8
"""
import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

bnb.nn.modules.has_avx512bf16 = lambda: False  # it would round the weights to BF16
path, logits, tokens = sys.argv[1:4]
m, info = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, device_map="cpu", attn_implementation="eager", output_loading_info=True)
assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
n = 0
for name, module in m.named_modules():
    if isinstance(module, bnb.nn.Linear4bit):
        assert F.dequantize_4bit(module.weight.data, module.weight.quant_state).isfinite().all()
        module.compute_dtype = torch.float32
        n += 1
want = load_file(logits)["logits"]
with torch.no_grad():
    got = m.eval()(input_ids=torch.tensor([[int(t) for t in tokens.split(",")]]), use_cache=False).logits[0].float()
off = float((got - want).abs().max())
print(f"{n} 4-bit layers; logits are {off:.2g} off transformers' and bitsandbytes'")
assert n and off < 1e-4
