"""Runs transformers' Trainer over a data file in order, and the same in F64.

run() is the reference: transformers.Trainer with its own AdamW, schedules,
clipping and accumulation. run64() is a loop of this project's own reading of
it, in F64 throughout: the generators require the two to agree, so the meaning
of every option is proved and not merely recorded.
"""

import golden  # first: it mends sys.path

import copy
import json
import math
import tempfile

import torch
import torch.nn.functional as F
from transformers import Trainer, TrainerCallback, TrainingArguments

import llama64


def read(path, seq=None):
    """The lines of a JSONL file: absent labels are the ids, longer lines are cut."""
    rows = []
    for line in open(path):
        d = json.loads(line)
        ids = d["input_ids"]
        rows.append(dict(input_ids=ids[:seq], labels=d.get("labels", ids)[:seq]))
    return rows


def collate(rows):
    """Pads to the right: id 0, label -100, mask 0."""
    n = max(len(r["input_ids"]) for r in rows)
    pad = lambda x, v: x + [v] * (n - len(x))
    return dict(
        input_ids=torch.tensor([pad(r["input_ids"], 0) for r in rows]),
        labels=torch.tensor([pad(r["labels"], -100) for r in rows]),
        attention_mask=torch.tensor([pad([1] * len(r["input_ids"]), 0) for r in rows]),
    )


SCHEDULES = {("constant", False): "constant", ("constant", True): "constant_with_warmup"}


class Watch(Trainer):
    """Counts each step's tokens: in the loss, and in the input without padding."""

    def __init__(self, *a, **kw):
        super().__init__(*a, **kw)
        self.counts = []

    def get_batch_samples(self, *a, **kw):
        batches, n = super().get_batch_samples(*a, **kw)
        self.counts.append((int(n), sum(int(b["attention_mask"].sum()) for b in batches)))
        return batches, n


def run(model, rows, p):
    """Trains model in place; p is a case's parameters. Returns the curve."""
    with tempfile.TemporaryDirectory() as tmp:
        args = TrainingArguments(
            output_dir=tmp, use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no",
            logging_strategy="steps", logging_steps=1, logging_nan_inf_filter=False,
            per_device_train_batch_size=p["batch"], gradient_accumulation_steps=p["accumulate"],
            max_steps=p.get("steps", -1), num_train_epochs=p.get("epochs", 1),
            learning_rate=p["lr"], lr_scheduler_type=SCHEDULES.get((p["schedule"], p["warmup"] > 0), p["schedule"]),
            warmup_steps=p["warmup"], weight_decay=p["weight_decay"], max_grad_norm=p["clip"], optim="adamw_torch",
            gradient_checkpointing=p["recompute"], gradient_checkpointing_kwargs={"use_reentrant": False} if p["recompute"] else None,
            train_sampling_strategy="sequential", dataloader_pin_memory=False, seed=1, remove_unused_columns=False,
        )
        t = Watch(model=model, args=args, train_dataset=rows, data_collator=collate)
        t.log = lambda logs, start_time=None, **kw: t.state.log_history.append(dict(logs, step=t.state.global_step))
        t.train()
    logs = [l for l in t.state.log_history if "loss" in l]
    assert [l["step"] for l in logs] == list(range(1, len(logs) + 1))
    assert len(logs) == len(t.counts) == t.state.max_steps
    return [
        dict(step=l["step"], loss=l["loss"], lr=l["learning_rate"], grad_norm=l["grad_norm"], loss_tokens=c[0], input_tokens=c[1])
        for l, c in zip(logs, t.counts)
    ]


def steps_of(rows, p):
    """The batches of each step, in order, and the number of steps."""
    batches = [rows[i : i + p["batch"]] for i in range(0, len(rows), p["batch"])]
    epoch = [batches[i : i + p["accumulate"]] for i in range(0, len(batches), p["accumulate"])]
    n = p.get("steps") or len(epoch) * p["epochs"]
    return [epoch[i % len(epoch)] for i in range(n)]


def rate(i, n, p):
    """The learning rate of step i (from 0) of n."""
    w = p["warmup"]
    if i < w:
        return p["lr"] * i / w
    x = (i - w) / max(1, n - w)
    return p["lr"] * {"constant": 1.0, "linear": 1 - x, "cosine": 0.5 * (1 + math.cos(math.pi * x))}[p["schedule"]]


def run64(model, rows, p):
    """run() by definition and in F64. Returns (curve, trained model)."""
    m = copy.deepcopy(model).double()
    params = {n: q for n, q in m.named_parameters() if q.requires_grad}
    state = {n: (torch.zeros_like(q), torch.zeros_like(q)) for n, q in params.items()}
    steps, curve = steps_of(rows, p), []
    with llama64.patched():
        for i, batches in enumerate(steps):
            batches = [collate(b) for b in batches]
            count = sum(int((b["labels"][:, 1:] != -100).sum()) for b in batches)
            total, grads = 0.0, {n: torch.zeros_like(q) for n, q in params.items()}
            for b in batches:
                z = m(input_ids=b["input_ids"], attention_mask=b["attention_mask"], use_cache=False).logits
                loss = F.cross_entropy(z[:, :-1].flatten(0, 1), b["labels"][:, 1:].flatten(), ignore_index=-100, reduction="sum") / count
                total += float(loss.detach())
                for n, g in zip(params, torch.autograd.grad(loss, list(params.values()))):
                    grads[n] += g
            norm = math.sqrt(sum(float((g * g).sum()) for g in grads.values()))
            scale = min(1.0, p["clip"] / (norm + 1e-6)) if p["clip"] > 0 else 1.0
            lr = rate(i, len(steps), p)
            with torch.no_grad():
                for n, q in params.items():
                    g, (mo, v) = grads[n] * scale, state[n]
                    if not ("bias" in n or "layernorm" in n or n.split(".")[-2] == "norm"):
                        q.mul_(1 - lr * p["weight_decay"])
                    mo.mul_(0.9).add_(g, alpha=0.1)
                    v.mul_(0.999).addcmul_(g, g, value=0.001)
                    q.sub_(lr * (mo / (1 - 0.9 ** (i + 1))) / ((v / (1 - 0.999 ** (i + 1))).sqrt() + 1e-8))
            curve.append(dict(loss=total, lr=lr, grad_norm=norm))
    return curve, m


def trainable(model):
    return {n: q.detach().clone() for n, q in model.named_parameters() if q.requires_grad}


def compare(a, b):
    """How far two runs are apart: losses (relative), tensors (relative to their norm)."""
    (ca, ta), (cb, tb) = a, b
    loss = [abs(x["loss"] / y["loss"] - 1) for x, y in zip(ca, cb)]
    t = sorted(golden.rel(ta[n], tb[n]) for n in ta)
    return dict(loss_max_rel=max(loss), tensor_median_rel=t[len(t) // 2], tensor_worst_rel=t[-1],
                grad_norm_max_rel=max(abs(x["grad_norm"] - y["grad_norm"]) / max(y["grad_norm"], 1e-9) for x, y in zip(ca, cb)))
