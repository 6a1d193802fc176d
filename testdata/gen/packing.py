"""Training curves of packed documents: testdata/trainmore/pack-CASE/.

	python testdata/gen/packing.py

Laid out as the other curves (loramore_train.py), with "pack": true among the
parameters, and

	packs    for each pack the lines of data.jsonl (from 0) that it holds, in order
	steps    for each step the lines that it sees, in order

Lines, cut to seq, go in the order of the file into the first pack that has room
for them, or into a new one, over a whole epoch. Packs are in the order in which
they were begun; a batch is "batch" packs. Attention stays within a document,
positions begin at 0 in each, and a document's first token is nobody's target. The
loss of a step is the mean over all its targets.

curve is Trainer over packs: position_ids alone, from which transformers makes the
block-diagonal mask (and the window within it). noise.f64 compares it with the same
documents unpacked, one a row, padded, in F64: packed equals unpacked. noise.sdpa
is the packed run with the other attention kernel.
"""

import golden  # first: it mends sys.path

import json
import shutil
import tempfile
import warnings

import torch
from transformers import Trainer, TrainingArguments

import loramore_train as lt
import train
import trainer


def first_fit(lengths, seq):
    packs, room = [], []
    for i, n in enumerate(lengths):
        j = next((j for j, r in enumerate(room) if r >= n), None)
        if j is None:
            packs.append([])
            room.append(seq)
            j = len(packs) - 1
        packs[j].append(i)
        room[j] -= n
    return packs


def collate(packs):
    """Packs of rows to tensors; what is left of a row is a document of its own without targets."""
    n = max(sum(len(r["input_ids"]) for r in p) for p in packs)
    out = dict(input_ids=[], labels=[], position_ids=[])
    for p in packs:
        fill = n - sum(len(r["input_ids"]) for r in p)
        out["input_ids"].append([i for r in p for i in r["input_ids"]] + [0] * fill)
        out["labels"].append([l for r in p for l in [-100] + r["labels"][1:]] + [-100] * fill)
        out["position_ids"].append([k for r in p for k in range(len(r["input_ids"]))] + list(range(fill)))
    return {k: torch.tensor(v) for k, v in out.items()}


class Watch(Trainer):
    def __init__(self, *a, **kw):
        super().__init__(*a, **kw)
        self.counts = []

    def get_batch_samples(self, *a, **kw):
        batches, n = super().get_batch_samples(*a, **kw)
        self.counts.append((int(n), sum(int((b["input_ids"] != 0).sum()) for b in batches)))
        return batches, n


def run(model, packs, p):
    """trainer.run over packs."""
    with tempfile.TemporaryDirectory() as tmp:
        args = TrainingArguments(
            output_dir=tmp, use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no",
            logging_strategy="steps", logging_steps=1, logging_nan_inf_filter=False,
            per_device_train_batch_size=p["batch"], gradient_accumulation_steps=p["accumulate"],
            max_steps=p.get("steps", -1), num_train_epochs=p.get("epochs", 1),
            learning_rate=p["lr"], lr_scheduler_type=trainer.SCHEDULES.get((p["schedule"], p["warmup"] > 0), p["schedule"]),
            warmup_steps=p["warmup"], weight_decay=p["weight_decay"], max_grad_norm=p["clip"], optim="adamw_torch",
            gradient_checkpointing=p["recompute"], gradient_checkpointing_kwargs={"use_reentrant": False} if p["recompute"] else None,
            train_sampling_strategy="sequential", dataloader_pin_memory=False, seed=1, remove_unused_columns=False,
        )
        t = Watch(model=model, args=args, train_dataset=packs, data_collator=collate)
        t.log = lambda logs, start_time=None, **kw: t.state.log_history.append(dict(logs, step=t.state.global_step))
        t.train()
    logs = [l for l in t.state.log_history if "loss" in l]
    assert [l["step"] for l in logs] == list(range(1, len(logs) + 1)) and len(logs) == len(t.counts)
    return [dict(step=l["step"], loss=l["loss"], lr=l["learning_rate"], grad_norm=l["grad_norm"], loss_tokens=c[0], input_tokens=c[1])
            for l, c in zip(logs, t.counts)]


def case(name, base_name, note="", method="lora", b=0.1, rows=None, lora=None, **over):
    p = train.DEFAULT | dict(batch=2, seq=32, pack=True) | over
    if "epochs" not in p:
        p.setdefault("steps", 20)
    dir = lt.prepare(name, base_name, rows, method, b, lora)
    read = trainer.read(dir / "data.jsonl", p["seq"])
    index = first_fit([len(r["input_ids"]) for r in read], p["seq"])
    assert any(len(x) > 1 for x in index) and any(x != sorted(x) or x[-1] - x[0] >= len(x) for x in index), (name, index)
    packs = [[read[i] for i in x] for x in index]
    steps = [[i for batch in s for pack in batch for i in pack] for s in trainer.steps_of(index, p)]
    model, other = (lt.start(dir, base_name, method, a) for a in ("eager", "sdpa"))
    before = trainer.trainable(model)
    curve64, model64 = lt.run64(model, [[[read[i]] for i in s] for s in steps], p)  # one document a batch
    curve, other_curve = run(model, packs, p), run(other, packs, p)
    for c, s in zip(curve, steps, strict=True):
        assert c["input_tokens"] == sum(len(read[i]["input_ids"]) for i in s)
        assert c["loss_tokens"] == sum(sum(l != -100 for l in read[i]["labels"][1:]) for i in s)
    lt.finish(dir, base_name, method, p, lora, note, (model, other, model64), before, (curve, other_curve, curve64),
              extra=dict(packs=index, steps=steps))
    print("    packs", index)


def documents(seed, n, low, high, vocab, **kw):
    return train.lines(seed, n, low, high, vocab, **kw)


def main():
    golden.setup(lt.SEED)
    warnings.simplefilter("ignore")
    for d in lt.OUT.glob("pack*"):
        shutil.rmtree(d)
    mha = documents(1, 14, 3, 24, 96)
    edges = documents(2, 6, 3, 20, 96)
    edges.insert(1, dict(input_ids=list(range(3, 35))))  # as long as seq
    edges.insert(3, dict(input_ids=list(range(40, 85))))  # longer: cut
    edges.insert(4, dict(input_ids=[9]))  # no target
    edges.insert(6, dict(input_ids=[7, 8], labels=[7, 8]))
    edges.insert(7, dict(input_ids=[7, 8, 9, 10], labels=[-100, -100, -100, -100]))  # none either
    qv = ("q_proj", "v_proj")
    case("pack", lt.MHA, rows=mha, lora=lt.lora(*qv))
    case("pack-edges", lt.MHA, "documents as long as seq, longer, of one token, without targets", rows=edges, lora=lt.lora(*qv))
    case("pack-masked", lt.MHA, "labels with -100 at the start and inside", rows=documents(3, 14, 5, 24, 96, masked=True), lora=lt.lora(*qv))
    case("pack-accumulate", lt.TIED, "epochs whose last batch and accumulation are short", rows=documents(4, 23, 3, 24, 96), batch=2, accumulate=2, epochs=4,
         schedule="linear", warmup=2, lora=lt.lora("all-linear"))
    case("pack-recompute", lt.TIED, "gradient checkpointing", rows=documents(5, 14, 3, 24, 96), recompute=True, lora=lt.lora("all-linear"))
    case("pack-mistral-window", "families/mistral-window", "a window of 7 within documents that are longer", rows=documents(6, 14, 3, 24, 48), lora=lt.lora("all-linear"))
    case("pack-qwen2-window", "families/qwen2-window", "layers with and without a window", rows=documents(7, 14, 3, 24, 48), lora=lt.lora("all-linear"))
    case("pack-full-qwen3", "families/qwen3", method="full", rows=documents(8, 14, 3, 24, 48), lr=1e-3)
    print(sum(p.stat().st_size for p in lt.OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
