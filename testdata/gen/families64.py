"""The Llama, Mistral, Qwen2 and Qwen3 of transformers computed in F64 throughout.

As llama64.py, for every family and every kind of RoPE scaling: RMSNorm (also
that of q and k), softmax and rotary embedding in F64, the rotary frequencies
included. It has llama64's names, so that a module written for that one can be
given this one.
"""

import contextlib
import copy
import math

import torch
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3

FAMILIES = {"llama": modeling_llama, "mistral": modeling_mistral, "qwen2": modeling_qwen2, "qwen3": modeling_qwen3}
CLASS = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}


def head_dim(cfg):
    return getattr(cfg, "head_dim", None) or cfg.hidden_size // cfg.num_attention_heads


def _yarn(p, d, f):
    """Frequencies and the factor of cos and sin, of arXiv:2309.00071."""
    factor, n = p["factor"], p["original_max_position_embeddings"]
    dim = lambda rotations: d * math.log(n / (rotations * 2 * math.pi)) / (2 * math.log(p["rope_theta"]))
    low, high = dim(p.get("beta_fast") or 32), dim(p.get("beta_slow") or 1)
    if p.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d - 1)
    if low == high:
        high += 0.001
    ramp = ((torch.arange(d // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    mscale = lambda m: 1.0 if factor <= 1 else 0.1 * m * math.log(factor) + 1
    a = p.get("attention_factor")
    if a is None:
        m, all_dim = p.get("mscale"), p.get("mscale_all_dim")
        a = mscale(m) / mscale(all_dim) if m and all_dim else mscale(1)
    return f / factor * ramp + f * (1 - ramp), a


def rope(cfg, length=None):
    """The rotary frequencies in F64 for a sequence of that length, and the factor of cos and sin."""
    p = cfg.rope_parameters
    d, theta, kind = head_dim(cfg), p["rope_theta"], p["rope_type"]
    if kind == "dynamic":
        n = cfg.max_position_embeddings
        theta *= (p["factor"] * max(length or n, n) / n - (p["factor"] - 1)) ** (d / (d - 2))
    f = 1.0 / theta ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    if kind in ("default", "dynamic"):
        return f, 1.0
    if kind == "linear":
        return f / p["factor"], 1.0
    if kind == "yarn":
        return _yarn(p, d, f)
    assert kind == "llama3", kind
    low, high = p["low_freq_factor"], p["high_freq_factor"]
    n = p["original_max_position_embeddings"]
    wave = 2 * math.pi / f
    smooth = (n / wave - low) / (high - low)
    mid = (1 - smooth) * f / p["factor"] + smooth * f
    return torch.where(wave > n / low, f / p["factor"], torch.where(wave < n / high, f, mid)), 1.0


def inv_freq(cfg):
    return rope(cfg)[0]


def _norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def _attention(module, q, k, v, mask, scaling, dropout=0.0, **kwargs):
    g = module.num_key_value_groups
    w = q @ modeling_llama.repeat_kv(k, g).transpose(2, 3) * scaling
    if mask is not None:
        w = w + mask
    return (w.softmax(-1) @ modeling_llama.repeat_kv(v, g)).transpose(1, 2).contiguous(), None


def _rope(self, x, position_ids):
    """Stateless: dynamic scaling goes by this call's last position alone."""
    f, factor = rope(self.config, int(position_ids.max()) + 1)
    a = position_ids[..., None].double() * f
    a = torch.cat((a, a), -1)
    return a.cos() * factor, a.sin() * factor


@contextlib.contextmanager
def patched():
    old = []
    try:
        for family, m in FAMILIES.items():
            norm, rotary = getattr(m, CLASS[family] + "RMSNorm"), getattr(m, CLASS[family] + "RotaryEmbedding")
            old.append((norm, norm.forward, rotary, rotary.forward, m, m.eager_attention_forward))
            norm.forward, rotary.forward, m.eager_attention_forward = _norm, _rope, _attention
        yield
    finally:
        for norm, n, rotary, r, m, a in old:
            norm.forward, rotary.forward, m.eager_attention_forward = n, r, a


def double(model):
    """A copy of model in F64, for use inside patched()."""
    m = copy.deepcopy(model).double().eval()
    m.config._attn_implementation = "eager"
    f, factor = rope(m.config)
    rotary = m.model.rotary_emb
    torch.testing.assert_close(rotary.original_inv_freq.double(), f, rtol=1e-5, atol=0)
    assert abs(rotary.attention_scaling - factor) < 1e-12, (rotary.attention_scaling, factor)
    return m


@torch.no_grad()
def logits(model, tokens):
    with patched():
        return double(model)(input_ids=tokens, use_cache=False).logits
