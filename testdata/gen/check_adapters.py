"""Checks that Hugging Face PEFT loads adapters that tenon wrote, and transformers
checkpoints that it merged: without a warning, with the same logits.

	python testdata/gen/check_adapters.py TENON BASE ADAPTER|CHECKPOINT TOKENS

TENON is the binary, TOKENS are ids such as 1,2,3. A folder with an
adapter_config.json is taken for an adapter of BASE, any other for a checkpoint.
Prints the largest difference of a logit and exits with 1 if it is above 1e-4, or if
anything warned.
"""

import golden  # first: it mends sys.path

import os
import subprocess
import sys
import tempfile
import warnings

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

# Of the libraries' own making, whatever is loaded; and what PEFT says of every saved
# or adapted head of a tied model, its own adapters' too.
OTHERS = ("`torch_dtype` is deprecated", "torch.jit", "`ensure_weight_tying` is not set to True")


def main(tenon, base, folder, tokens):
    ids = torch.tensor([[int(t) for t in tokens.split(",")]])
    adapter = os.path.exists(os.path.join(folder, "adapter_config.json"))
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "logits.safetensors")
        command = [tenon, "logits", "--model", base, "--tokens", tokens, "--out", out]
        subprocess.run(command + ["--adapter", folder] if adapter else command[:3] + [folder] + command[4:], check=True)
        want = load_file(out)["logits"]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = AutoModelForCausalLM.from_pretrained(base if adapter else folder, dtype=torch.float32, attn_implementation="eager")
        if adapter:
            model = PeftModel.from_pretrained(model, folder)
    said = [str(w.message) for w in seen if not issubclass(w.category, (DeprecationWarning, FutureWarning)) and not any(o in str(w.message) for o in OTHERS)]
    with torch.no_grad():
        off = (model(ids).logits[0] - want).abs().max().item()
    print(f"{folder}: logits differ by {off:.2g}", *said, sep="; ")
    return 0 if off <= 1e-4 and not said else 1


if __name__ == "__main__":
    golden.setup(0)
    sys.exit(main(*sys.argv[1:]))
