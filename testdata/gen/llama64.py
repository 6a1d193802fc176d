"""LlamaForCausalLM computed in F64 throughout.

model.double() alone is not F64: transformers' RMSNorm, softmax and rotary
embedding cast to F32 inside. Here all three are F64, the rotary frequencies
included, so the result is the truth that F32 implementations are judged by.
"""

import contextlib
import copy
import math

import torch
from transformers.models.llama import modeling_llama as llama


def inv_freq(cfg):
    """The rotary frequencies in F64: default, linear and llama3."""
    p = cfg.rope_parameters
    d = cfg.head_dim
    f = 1.0 / p["rope_theta"] ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    kind = p["rope_type"]
    if kind == "default":
        return f
    if kind == "linear":
        return f / p["factor"]
    assert kind == "llama3", kind
    low, high = p["low_freq_factor"], p["high_freq_factor"]
    n = p["original_max_position_embeddings"]
    wave = 2 * math.pi / f
    smooth = (n / wave - low) / (high - low)
    mid = (1 - smooth) * f / p["factor"] + smooth * f
    return torch.where(wave > n / low, f / p["factor"], torch.where(wave < n / high, f, mid))


def _norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def _attention(module, q, k, v, mask, scaling, dropout=0.0, **kwargs):
    g = module.num_key_value_groups
    w = q @ llama.repeat_kv(k, g).transpose(2, 3) * scaling
    if mask is not None:
        w = w + mask
    return (w.softmax(-1) @ llama.repeat_kv(v, g)).transpose(1, 2).contiguous(), None


def _rope(self, x, position_ids):
    a = position_ids[..., None].double() * inv_freq(self.config)
    a = torch.cat((a, a), -1)
    return a.cos(), a.sin()


@contextlib.contextmanager
def patched():
    old = llama.LlamaRMSNorm.forward, llama.LlamaRotaryEmbedding.forward, llama.eager_attention_forward
    llama.LlamaRMSNorm.forward, llama.LlamaRotaryEmbedding.forward, llama.eager_attention_forward = _norm, _rope, _attention
    try:
        yield
    finally:
        llama.LlamaRMSNorm.forward, llama.LlamaRotaryEmbedding.forward, llama.eager_attention_forward = old


def double(model):
    """A copy of model in F64, for use inside patched()."""
    m = copy.deepcopy(model).double().eval()
    m.config._attn_implementation = "eager"
    torch.testing.assert_close(m.model.rotary_emb.inv_freq.double(), inv_freq(m.config), rtol=1e-5, atol=0)
    return m


@torch.no_grad()
def logits(model, tokens):
    with patched():
        return double(model)(input_ids=tokens, use_cache=False).logits
