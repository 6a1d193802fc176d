"""Which rows transformers' Trainer puts into which step -> testdata/train-steps.json

    python testdata/gen/data_order.py

Rows are [row number, row number], taken in file order; each case lists, a
step, the batches with their rows. Nothing is random.
"""
import hashlib
import json
import pathlib
import tempfile

import torch
import transformers
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

here = pathlib.Path(__file__).resolve()


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(1))

    def forward(self, input_ids, labels, **kwargs):
        return {"loss": self.w.sum()}


class Recorder(Trainer):
    def _get_train_sampler(self, *args, **kwargs):
        return SequentialSampler(self.train_dataset)

    def training_step(self, model, inputs, num_items_in_batch=None):
        while len(self.steps) <= self.state.global_step:
            self.steps.append([])
        self.steps[self.state.global_step].append(inputs["input_ids"][:, 0].tolist())
        return super().training_step(model, inputs, num_items_in_batch)


CASES = [  # rows, batch, accumulate, steps, epochs
    (5, 2, 1, None, 2),
    (5, 2, 2, None, 2),
    (7, 2, 3, None, 2),
    (8, 2, 2, None, 1),
    (3, 4, 2, None, 2),
    (7, 1, 3, 5, None),
    (5, 2, 2, 7, None),
    (1, 1, 1, 3, None),
]

cases = []
for rows, batch, accumulate, steps, epochs in CASES:
    with tempfile.TemporaryDirectory() as tmp:
        how = {"max_steps": steps} if steps else {"num_train_epochs": epochs}
        args = TrainingArguments(
            output_dir=tmp, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulate,
            use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, **how)
        data = [{"input_ids": torch.tensor([i, i]), "labels": torch.tensor([i, i])} for i in range(rows)]
        t = Recorder(model=Model(), args=args, train_dataset=data)
        t.steps = []
        t.train()
        assert len(t.steps) == t.state.max_steps
        cases.append({"rows": rows, "batch": batch, "accumulate": accumulate,
                      "steps": steps or 0, "epochs": epochs or 0, "want": t.steps})

out = here.parents[1] / "train-steps.json"
out.write_text(json.dumps({
    "script": "testdata/gen/data_order.py",
    "sha256": hashlib.sha256(here.read_bytes()).hexdigest(),
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "cases": cases,
}) + "\n")
