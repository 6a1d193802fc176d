"""A LoRA step of PyTorch and PEFT on SmolLM2: the bar for tenon's.

	testdata/fetch-smollm2.sh
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python bench/peers/torch_lora.py

Rank 16 on all linear layers, one sequence of 512 tokens, AdamW, the norm clipped
to 1, 2 threads; 3 warm-up steps, then the median of 10. Prints one JSON object.
peak_rss_bytes is the process's VmHWM while it steps; loaded_rss_bytes its VmRSS
before the first step; import_rss_bytes after the imports alone (a CUDA build of
PyTorch takes some 0.4 GB more there than a CPU build). The environment is
testdata/gen/requirements.txt. --compile compiles the model, --bf16 runs it in
bfloat16 autocast; --serve takes steps for bench/compare, after the warm-up (see
serve.py).
"""

import argparse
import json
import pathlib
import platform
import statistics
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "testdata" / "gen"))
import golden  # first: it mends sys.path

import peft
import torch
import transformers

import smollm2_model

from serve import serve
from training import Steps, memory, settle


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--seq", type=int, default=512)
    a.add_argument("--batch", type=int, default=1)
    a.add_argument("--rank", type=int, default=16)
    a.add_argument("--warmup", type=int, default=3)
    a.add_argument("--steps", type=int, default=10)
    a.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    a.add_argument("--recompute", action="store_true")
    a.add_argument("--compile", action="store_true")
    a.add_argument("--bf16", action="store_true")
    a.add_argument("--serve", action="store_true")
    a = a.parse_args()
    imported = memory("VmRSS")
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)

    model = smollm2_model.model(a.attention)
    model = peft.get_peft_model(model, peft.LoraConfig(
        task_type="CAUSAL_LM", r=a.rank, lora_alpha=2 * a.rank, target_modules="all-linear"))
    if a.recompute:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    if a.compile:
        model = torch.compile(model)
    x = torch.randint(3, model.config.vocab_size, (a.batch, a.seq))
    loading = memory("VmHWM")
    loaded = settle()
    step = Steps(model, x, a.bf16)

    if a.serve:
        for _ in range(a.warmup):
            step()
        kind = ("torch.compile" if a.compile else "eager") + (", bf16 autocast" if a.bf16 else "")
        return serve({"peer": "PyTorch, " + kind, "version": torch.__version__}, lambda reps: step())
    for _ in range(a.warmup + a.steps):
        step()
    middle = statistics.median(step.times[a.warmup :])
    print(json.dumps(dict(
        peer="torch+peft", torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__,
        cpu=cpu(), threads=a.threads, attention=a.attention, recompute=a.recompute, compiled=a.compile, bf16=a.bf16, seq=a.seq, batch=a.batch, rank=a.rank,
        trainable=sum(p.numel() for p in step.params), step_s=round(middle, 4), step_min_s=round(min(step.times[a.warmup :]), 4),
        step_max_s=round(max(step.times[a.warmup :]), 4), tokens_per_s=round(a.batch * a.seq / middle, 1),
        import_rss_bytes=imported, loaded_rss_bytes=loaded, loading_peak_rss_bytes=loading, peak_rss_bytes=memory("VmHWM"),
        loss_first=step.losses[0], loss_last=step.losses[-1],
    )))


if __name__ == "__main__":
    main()
