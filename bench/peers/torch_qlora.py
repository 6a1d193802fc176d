"""A QLoRA step of bitsandbytes and PEFT on SmolLM2: the bar for tenon's.

	testdata/fetch-smollm2.sh
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python bench/peers/torch_qlora.py

The linear layers are in NF4 (block 64, --double quantises the scales too) and computed
with in F32, as PEFT's prepare_model_for_kbit_training has it; the rest is as in
torch_lora.py: rank 16 on all linear layers, one sequence of 512 tokens, AdamW, the norm
clipped to 1, 2 threads. Prints one JSON object, whose loaded_rss_bytes and
peak_rss_bytes are VmRSS before the first step and VmHWM from there on. --serve takes
steps for bench/compare (see serve.py).
"""

import argparse
import gc
import json
import pathlib
import statistics
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "testdata" / "gen"))
import golden  # noqa: F401  first: it mends sys.path

import bitsandbytes
import peft
import torch
import transformers

import smollm2_model

from serve import serve
from training import Steps, memory, settle


def base(double):
    """SmolLM2 in NF4, through a checkpoint, as transformers makes it."""
    with tempfile.TemporaryDirectory() as d:
        smollm2_model.model("sdpa").save_pretrained(d)
        gc.collect()
        m = transformers.LlamaForCausalLM.from_pretrained(
            d, dtype=torch.float32, device_map="cpu", attn_implementation="sdpa",
            quantization_config=transformers.BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32, bnb_4bit_use_double_quant=double))
    return peft.prepare_model_for_kbit_training(m, use_gradient_checkpointing=False)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--seq", type=int, default=512)
    a.add_argument("--rank", type=int, default=16)
    a.add_argument("--warmup", type=int, default=2)
    a.add_argument("--steps", type=int, default=5)
    a.add_argument("--double", action="store_true")
    a.add_argument("--serve", action="store_true")
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)

    model = base(a.double)
    model = peft.get_peft_model(model, peft.LoraConfig(
        task_type="CAUSAL_LM", r=a.rank, lora_alpha=2 * a.rank, target_modules="all-linear"))
    assert sum(isinstance(m, bitsandbytes.nn.Linear4bit) for m in model.modules()) == 210
    model.train()
    x = torch.randint(3, model.config.vocab_size, (1, a.seq))
    loaded = settle()
    step = Steps(model, x)

    for _ in range(a.warmup):
        step()
    if a.serve:
        return serve({"peer": "bitsandbytes and PEFT", "version": f"{bitsandbytes.__version__}, {peft.__version__}, PyTorch {torch.__version__}"}, lambda reps: step())
    for _ in range(a.steps):
        step()
    print(json.dumps(dict(
        peer="bitsandbytes+peft", bitsandbytes=bitsandbytes.__version__, torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__,
        threads=a.threads, seq=a.seq, rank=a.rank, double=a.double, trainable=sum(p.numel() for p in step.params),
        step_s=round(statistics.median(step.times[a.warmup :]), 4), step_min_s=round(min(step.times[a.warmup :]), 4),
        loaded_rss_bytes=loaded, peak_rss_bytes=memory("VmHWM"), loss_first=step.losses[0], loss_last=step.losses[-1],
    )))


if __name__ == "__main__":
    main()
