"""Steps of bitsandbytes' AdamW8bit on the CPU: testdata/optim/adamw8bit.safetensors.

	python testdata/gen/adamw8bit.py

For step i, from 0: g.i, the gradient; p.i, m.i and v.i, parameter and decoded moments
before it; and after the last step p.N with codes1.N and codes2.N, in I32, of N-1's update.
Gradients are heavy-tailed, as those of a model are: second moments spread over many
powers of ten.
"""

import golden  # first: it mends sys.path

import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch

SEED = 20261124
N, STEPS = 4096, 3
OUT = golden.ROOT / "optim"


def main():
    golden.setup(SEED)
    g = torch.Generator().manual_seed(SEED)
    p = torch.nn.Parameter(torch.randn(N, generator=g) * 0.1)
    opt = bnb.optim.AdamW8bit([p], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    out, moments = {}, (torch.zeros(N), torch.zeros(N))
    for i in range(STEPS):
        p.grad = torch.randn(N, generator=g) * torch.exp(torch.randn(N, generator=g) * 2) * 0.01
        out |= {f"g.{i}": p.grad.clone(), f"p.{i}": p.data.clone(), f"m.{i}": moments[0], f"v.{i}": moments[1]}
        opt.step()
        s = opt.state[p]
        assert s["state1"].dtype == torch.uint8 and len(s["absmax1"]) == N // 256
        moments = tuple(F.dequantize_blockwise(s[f"state{k}"], absmax=s[f"absmax{k}"], code=s[f"qmap{k}"], blocksize=256) for k in (1, 2))
        out |= {f"codes{k}.{i + 1}": golden.i32(s[f"state{k}"]) for k in (1, 2)}
    out[f"p.{STEPS}"] = p.data.clone()
    golden.write(OUT / "adamw8bit.safetensors", out, golden.provenance(SEED, "bitsandbytes") | dict(lr="1e-3", weight_decay="0.1"))


main()
