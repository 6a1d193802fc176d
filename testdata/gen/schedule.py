"""Learning-rate factors of transformers' schedules -> testdata/train-schedule.json

    python testdata/gen/schedule.py

Every case steps a LambdaLR as the Trainer does (the rate of a step is read
before scheduler.step()). Nothing is random.
"""
import hashlib
import json
import pathlib

import torch
import transformers
from transformers import TrainingArguments, get_scheduler

here = pathlib.Path(__file__).resolve()
CASES = [  # name here, name there, warm-up, total steps, steps listed
    ("constant", "constant_with_warmup", 0, 5, 5),
    ("constant", "constant_with_warmup", 3, 6, 6),
    ("constant", "constant_with_warmup", 9, 4, 4),
    ("linear", "linear", 0, 7, 8),
    ("linear", "linear", 3, 10, 11),
    ("linear", "linear", 1, 1, 2),
    ("linear", "linear", 4, 4, 6),
    ("cosine", "cosine", 0, 7, 8),
    ("cosine", "cosine", 5, 20, 21),
    ("cosine", "cosine", 2, 2, 4),
    ("cosine", "cosine", 0, 1, 2),
]
LR = 2e-4

cases = []
for name, theirs, warmup, total, listed in CASES:
    p = torch.nn.Parameter(torch.zeros(1))
    opt = torch.optim.SGD([p], lr=LR)
    sched = get_scheduler(theirs, opt, num_warmup_steps=warmup, num_training_steps=total)
    rates = []
    for _ in range(listed):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        sched.step()
    cases.append({"schedule": name, "warmup": warmup, "total": total, "rates": rates})

warmups = []
for warmup, total in [(0, 10), (0.1, 10), (0.1, 11), (0.25, 3), (1, 10), (2.9, 10), (50, 10)]:
    args = TrainingArguments(output_dir="unused", warmup_steps=warmup, use_cpu=True)
    warmups.append({"warmup": warmup, "total": total, "steps": args.get_warmup_steps(total)})

out = here.parents[1] / "train-schedule.json"
out.write_text(json.dumps({
    "script": "testdata/gen/schedule.py",
    "sha256": hashlib.sha256(here.read_bytes()).hexdigest(),
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "lr": LR,
    "cases": cases,
    "warmups": warmups,
}, indent=1) + "\n")
