"""What the peers that train share: a step, and the process's memory."""

import ctypes
import gc
import pathlib
import time

import torch


def memory(key):
    for line in open("/proc/self/status"):
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def settle():
    """Lets go of what loading took, so that it does not count as a step's memory, and
    returns what is left."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    return memory("VmRSS")


class Steps:
    """Steps of AdamW on one batch x, the norm clipped to 1; a call takes one and returns
    its seconds."""

    def __init__(self, model, x, bf16=False):
        self.model, self.x, self.bf16 = model, x, bf16
        self.params = [p for p in model.parameters() if p.requires_grad]
        self.opt = torch.optim.AdamW(self.params, lr=2e-4)
        self.times, self.losses = [], []

    def __call__(self):
        t = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.model(input_ids=self.x, labels=self.x, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.opt.step()
        self.opt.zero_grad()
        self.times.append(time.perf_counter() - t)
        self.losses.append(float(loss.detach()))
        return self.times[-1]
