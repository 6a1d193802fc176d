"""Writes adamw.json: AdamW steps of PyTorch on a CPU, as bits of float32.

    python testdata/adamw.py > testdata/adamw.json
"""
import json
import sys

import torch

SEED = 7
N = 37
torch.manual_seed(SEED)
torch.set_num_threads(1)


def bits(x):
    return [v & 0xFFFFFFFF for v in x.detach().contiguous().view(torch.int32).tolist()]


cases = []
for lr, beta1, beta2, eps, wd in [
    (1e-3, 0.9, 0.999, 1e-8, 0.01),
    (2e-4, 0.9, 0.95, 1e-6, 0.0),
    (3e-3, 0.4, 0.99, 1e-8, 0.1),
]:
    p = torch.nn.Parameter(torch.randn(N) * torch.logspace(-3, 1, N))
    opt = torch.optim.AdamW([p], lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=wd, foreach=False, fused=False)
    case = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": wd, "p": bits(p), "steps": []}
    for _ in range(4):
        p.grad = torch.randn(N) * torch.logspace(1, -6, N)
        g = bits(p.grad)
        opt.step()
        s = opt.state[p]
        case["steps"].append({"g": g, "p": bits(p), "m": bits(s["exp_avg"]), "v": bits(s["exp_avg_sq"])})
    cases.append(case)

json.dump({"script": "testdata/adamw.py", "torch": torch.__version__, "seed": SEED, "cases": cases}, sys.stdout, separators=(",", ":"))
print()
