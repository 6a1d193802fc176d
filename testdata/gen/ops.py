"""Goldens of single ops: testdata/ops/NAME.N.safetensors.

	python testdata/gen/ops.py

Tensors are F32 (ids, labels, lengths and positions I32):

	in.X     an input; in.dz is the upstream gradient of out.z
	param.X  a weight
	out.z    the result
	grad.X   the gradient of sum(out.z * in.dz) with respect to in.X or param.X

The metadata key "attrs" is a JSON object: the op's name and its constants.
"""

import golden  # first: it mends sys.path

import functools
import json
import math

import torch
import torch.nn.functional as F
from transformers import LlamaConfig
from transformers.models.llama import modeling_llama as llama

SEED = 20260101
OUT = golden.ROOT / "ops"

_count = {}


def rand(*shape, scale=1.0):
    return torch.randn(shape) * scale


def save(op, tensors, **attrs):
    n = _count[op] = _count.get(op, 0) + 1
    meta = golden.provenance(SEED, "transformers")
    meta["attrs"] = json.dumps({"op": op, **attrs}, sort_keys=True)
    golden.write(OUT / f"{op}.{n}.safetensors", tensors, meta)


def case(op, f, ins=None, params=None, fixed=None, dz=None, **attrs):
    """One case: f(**ins, **params, **fixed), its output and all gradients.

    fixed holds inputs without gradient (ids, labels, cos, sin).
    """
    ins, params, fixed = ins or {}, params or {}, fixed or {}
    leaf = {k: v.clone().requires_grad_() for k, v in {**ins, **params}.items()}
    z = f(**leaf, **fixed)
    if dz is None:
        dz = rand(*z.shape)
    names = list(leaf)
    grads = torch.autograd.grad((z * dz).sum(), [leaf[k] for k in names])
    # The same in F64: catches a generator whose F32 run is itself unstable.
    leaf64 = {k: v.double().requires_grad_() for k, v in {**ins, **params}.items()}
    fixed64 = {k: v.double() if v.dtype == torch.float32 else v for k, v in fixed.items()}
    z64 = f(**leaf64, **fixed64)
    grads64 = torch.autograd.grad((z64 * dz.double()).sum(), [leaf64[k] for k in names])
    for name, a, b in [("z", z, z64)] + [(k, g, h) for k, g, h in zip(names, grads, grads64)]:
        assert golden.rel(a, b) < 2e-5 or b.norm() < 1e-6, (op, name, golden.rel(a, b))
    t = {"in." + k: v for k, v in {**ins, **fixed}.items()}
    t |= {"param." + k: v for k, v in params.items()}
    t |= {"in.dz": dz, "out.z": z}
    t |= {"grad." + k: g for k, g in zip(names, grads)}
    save(op, t, **attrs)


def matmuls():
    # The last of each is big enough to cross packing-block borders.
    for b, m, k, n in [((), 5, 7, 3), ((), 1, 64, 33), ((3,), 4, 9, 17), ((), 67, 66, 71)]:
        case("matmul", lambda x, y: x @ y, dict(x=rand(*b, m, k), y=rand(*b, k, n)))
        case("matmulT", lambda x, y: x @ y.transpose(-1, -2), dict(x=rand(*b, m, k), y=rand(*b, n, k)))
        case("matmulTA", lambda x, y: x.transpose(-1, -2) @ y, dict(x=rand(*b, k, m), y=rand(*b, k, n)))


def elementwise():
    shapes = [((3, 5), (3, 5)), ((2, 3, 5), (5,)), ((2, 3, 5), (3, 1)), ((4, 1), (1, 6)), ((3, 5), (1,)), ((2, 1, 5), (7, 1))]
    for a, b in shapes:
        case("add", lambda x, y: x + y, dict(x=rand(*a), y=rand(*b)))
    for a, b in shapes[:4]:
        case("sub", lambda x, y: x - y, dict(x=rand(*a), y=rand(*b)))
        case("mul", lambda x, y: x * y, dict(x=rand(*a), y=rand(*b)))
        case("div", lambda x, y: x / y, dict(x=rand(*a), y=rand(*b).sign() * (rand(*b).abs() + 0.5)))
    for s in (0.125, -3.5):
        case("scale", lambda x: x * s, dict(x=rand(3, 19)), scale=s)


def unary():
    f = {
        "exp": (torch.exp, lambda s: rand(*s, scale=3)),
        "log": (torch.log, lambda s: rand(*s).abs() + 0.01),
        "sqrt": (torch.sqrt, lambda s: rand(*s).abs() + 0.01),
        "rsqrt": (torch.rsqrt, lambda s: rand(*s).abs() + 0.01),
        "sigmoid": (torch.sigmoid, lambda s: rand(*s, scale=4)),
        "silu": (F.silu, lambda s: rand(*s, scale=4)),
        "neg": (torch.neg, lambda s: rand(*s)),
    }
    for op, (g, make) in f.items():
        case(op, lambda x: g(x), dict(x=make((3, 67))))


def reductions():
    for shape in [(3, 5), (2, 3, 67)]:
        case("sum", lambda x: x.sum(-1), dict(x=rand(*shape)), axis=-1)
        case("mean", lambda x: x.mean(-1), dict(x=rand(*shape)), axis=-1)
        case("max", lambda x: x.amax(-1), dict(x=rand(*shape)), axis=-1)
        case("softmax", lambda x: x.softmax(-1), dict(x=rand(*shape, scale=4)), axis=-1)
    # Large values: only a softmax that subtracts the maximum survives this.
    case("softmax", lambda x: x.softmax(-1), dict(x=rand(4, 33, scale=30) + 200), axis=-1)


def views():
    case("reshape", lambda x: x.reshape(4, 15), dict(x=rand(3, 4, 5)), shape=[4, 15])
    case("reshape", lambda x: x.reshape(2, 3, 4, 5), dict(x=rand(6, 20)), shape=[2, 3, 4, 5])
    for perm, shape in [((1, 0), (3, 5)), ((0, 2, 1, 3), (2, 3, 4, 5)), ((2, 0, 1), (3, 4, 5))]:
        case("permute", lambda x: x.permute(*perm).contiguous(), dict(x=rand(*shape)), perm=list(perm))
    for axis, (a, b) in [(0, ((2, 5), (3, 5))), (-1, ((2, 3, 5), (2, 3, 7))), (1, ((2, 3, 5), (2, 1, 5)))]:
        case("concat", lambda x, y: torch.cat([x, y], axis), dict(x=rand(*a), y=rand(*b)), axis=axis)
    for axis, start, end, shape in [(0, 1, 4, (5, 3)), (-1, 2, 9, (2, 3, 11)), (1, 0, 2, (2, 4, 5))]:
        case("slice", lambda x: x.narrow(axis, start, end - start), dict(x=rand(*shape)), axis=axis, start=start, end=end)


def embedding():
    for shape, v, c in [((7,), 5, 8), ((2, 9), 13, 33)]:
        ids = torch.randint(0, v, shape, dtype=torch.int32)
        ids.view(-1)[1] = ids.view(-1)[0]  # a repeated id: its gradients add up
        case("embedding", lambda weight, ids: F.embedding(ids.long(), weight), params=dict(weight=rand(v, c)), fixed=dict(ids=ids))


def linear(x, weight, bias=None):
    return F.linear(x, weight, bias)


def lowrank(x, weight, a, b, bias=None, s=1.0):
    return F.linear(x, weight, bias) + s * F.linear(F.linear(x, a), b)


def linears():
    for lead, i, o in [((5,), 16, 24), ((2, 9), 33, 17)]:
        case("linear", linear, dict(x=rand(*lead, i)), dict(weight=rand(o, i, scale=0.2)), bias=False)
        case("linear", linear, dict(x=rand(*lead, i)), dict(weight=rand(o, i, scale=0.2), bias=rand(o)), bias=True)
    for lead, i, o, r, s, bias in [((5,), 16, 24, 4, 2.0, True), ((2, 9), 33, 17, 8, 0.5, False), ((1,), 16, 8, 1, 1.0, True), ((3, 23), 48, 80, 64, 1 / 8, False)]:
        p = dict(weight=rand(o, i, scale=0.2), a=rand(r, i, scale=0.2), b=rand(o, r, scale=0.2))
        if bias:
            p["bias"] = rand(o)
        case("lowrank", functools.partial(lowrank, s=s), dict(x=rand(*lead, i)), p, scale=s, rank=r, bias=bias)


def rmsnorm(x, weight, eps):
    if x.dtype == torch.float64:  # LlamaRMSNorm computes in F32 whatever x is
        return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))
    m = llama.LlamaRMSNorm(x.shape[-1], eps)
    return torch.func.functional_call(m, {"weight": weight}, (x,))


def norms():
    for shape, eps in [((4, 16), 1e-5), ((2, 3, 67), 1e-6), ((1, 576), 1e-5)]:
        case("rmsnorm", functools.partial(rmsnorm, eps=eps), dict(x=rand(*shape, scale=2)), dict(weight=rand(shape[-1]) * 0.3 + 1), eps=eps)
    # Rows near zero, where eps decides.
    case("rmsnorm", functools.partial(rmsnorm, eps=1e-5), dict(x=rand(3, 32, scale=1e-3)), dict(weight=rand(32)), eps=1e-5)


def rope(x, cos, sin, positions):
    return llama.apply_rotary_pos_emb(x, x, cos, sin, unsqueeze_dim=2)[0]


LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)


def ropes():
    linear2 = dict(rope_type="linear", factor=2.5)
    for (b, t, h, d), start, theta, extra in [
        ((2, 5, 3, 8), (7, 7), 10000.0, {}),
        ((2, 9, 2, 64), (1, 1000), 100000.0, {}),
        ((1, 33, 1, 16), (200,), 500000.0, LLAMA3),
        ((1, 6, 4, 16), (3,), 10000.0, linear2),
    ]:
        cfg = LlamaConfig(
            hidden_size=h * d, num_attention_heads=h, head_dim=d, max_position_embeddings=2048,
            rope_parameters={"rope_type": "default", "rope_theta": theta, **extra},
        )
        pos = torch.tensor(start, dtype=torch.int32)[:, None] + torch.arange(t, dtype=torch.int32)[None]
        cos, sin = llama.LlamaRotaryEmbedding(cfg)(torch.zeros(1), pos)
        case("rope", rope, dict(x=rand(b, t, h, d)), fixed=dict(cos=cos, sin=sin, positions=pos), theta=theta, scaling=extra)


def swiglu():
    for shape in [(3, 17), (2, 5, 64)]:
        case("swiglu", lambda gate, up: F.silu(gate) * up, dict(gate=rand(*shape, scale=3), up=rand(*shape)))


class Heads:
    """What eager_attention_forward wants to know of its module."""

    training = False

    def __init__(self, groups):
        self.num_key_value_groups = groups


def attention(q, k, v, lengths=None):
    b, t, h, d = q.shape
    n = k.shape[1]
    # Query i is position n-t+i of the keys.
    seen = torch.arange(n)[None] <= torch.arange(n - t, n)[:, None]
    seen = seen[None, None].expand(b, 1, t, n)
    if lengths is not None:
        seen = seen & (torch.arange(n)[None] < lengths[:, None])[:, None, None]
    mask = torch.zeros(b, 1, t, n, dtype=q.dtype).masked_fill(~seen, torch.finfo(q.dtype).min)
    qt, kt, vt = (x.transpose(1, 2) for x in (q, k, v))
    if q.dtype == torch.float64:  # eager_attention_forward's softmax is F32 whatever q is
        g = h // k.shape[2]
        w = qt @ llama.repeat_kv(kt, g).transpose(2, 3) / math.sqrt(d) + mask
        z = (w.softmax(-1) @ llama.repeat_kv(vt, g)).transpose(1, 2)
    else:
        z, _ = llama.eager_attention_forward(Heads(h // k.shape[2]), qt, kt, vt, mask, d**-0.5)
    if lengths is not None:
        z = z * (torch.arange(t)[None] < lengths[:, None])[:, :, None, None]
    return z


def attentions():
    for b, t, n, h, kv, d, lengths in [
        (2, 5, 5, 1, 1, 8, None),
        (1, 33, 33, 4, 4, 16, None),
        (1, 130, 130, 3, 1, 16, None),
        (1, 17, 17, 9, 3, 64, None),
        (1, 67, 67, 2, 1, 64, None),
        (3, 33, 33, 4, 2, 8, [33, 1, 20]),
        (2, 130, 130, 3, 1, 8, [77, 130]),
        (1, 3, 20, 6, 2, 16, None),
        (1, 1, 41, 3, 3, 64, None),
    ]:
        ins = dict(q=rand(b, t, h, d, scale=2), k=rand(b, n, kv, d), v=rand(b, n, kv, d))
        fixed, dz = {}, rand(b, t, h, d)
        note = {}
        if lengths:
            fixed["lengths"] = golden.i32(lengths)
            dz = dz * (torch.arange(t)[None] < fixed["lengths"][:, None])[:, :, None, None]
            note = {"padded_rows": "rows at or past lengths mean nothing; stored as 0, with dz 0"}
        case("attention", attention, ins, fixed=fixed, dz=dz, causal=True, scale=d**-0.5, offset=n - t, **note)


def cross_entropy(hidden, weight, labels, a=None, b=None, s=1.0, divisor=None):
    logits = F.linear(hidden, weight)
    if a is not None:
        logits = logits + s * F.linear(F.linear(hidden, a), b)
    labels = labels.long()
    if divisor is None:
        return F.cross_entropy(logits, labels, ignore_index=-100)
    return F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum") / divisor


def losses():
    for n, c, v, masked, scale, divisor, r in [
        (7, 8, 11, 0, 0.5, None, 0),
        (33, 16, 130, 9, 0.5, None, 0),
        (5, 8, 64, 2, 12.0, None, 0),  # large logits
        (20, 16, 67, 6, 0.5, 57, 0),  # Trainer's form: the sum over the whole step's tokens
        (19, 16, 67, 5, 0.5, None, 4),
        (70, 24, 300, 31, 0.5, None, 0),
    ]:
        labels = torch.randint(0, v, (n,), dtype=torch.int32)
        if masked:
            labels[torch.randperm(n)[:masked]] = -100
        params, attrs = dict(weight=rand(v, c, scale=scale)), dict(ignore_index=-100, divisor=divisor or n - masked)
        f = functools.partial(cross_entropy, divisor=divisor)
        if r:
            params |= dict(a=rand(r, c, scale=0.3), b=rand(v, r, scale=0.3))
            f, attrs = functools.partial(f, s=1.5), attrs | dict(scale=1.5, rank=r)
        case("cross_entropy", f, dict(hidden=rand(n, c)), params, dict(labels=labels), **attrs)


def clip():
    for max_norm, scale in [(1.0, 1.0), (100.0, 1.0), (0.05, 1e-3), (0.05, 10.0)]:
        g = [rand(3, 5, scale=scale), rand(17, scale=scale), rand(2, 2, 4, scale=scale)]
        ps = [torch.nn.Parameter(torch.zeros_like(x)) for x in g]
        for p, x in zip(ps, g):
            p.grad = x.clone()
        norm = torch.nn.utils.clip_grad_norm_(ps, max_norm)
        t = {f"in.g.{i}": x for i, x in enumerate(g)}
        t |= {f"out.g.{i}": p.grad for i, p in enumerate(ps)}
        save("clip", t | {"out.norm": norm}, max_norm=max_norm)


def adamw():
    for wd, lrs, betas, eps in [
        (0.1, [1e-2] * 5, (0.9, 0.999), 1e-8),
        (0.0, [0.0, 1e-3, 2e-3, 1.5e-3, 1e-3], (0.9, 0.999), 1e-8),
        (0.01, [2e-4] * 5, (0.8, 0.95), 1e-6),
    ]:
        p = torch.nn.Parameter(rand(5, 13))
        opt = torch.optim.AdamW([p], lr=lrs[0], betas=betas, eps=eps, weight_decay=wd, foreach=False)
        t = {"in.p": p.detach().clone()}
        for i, lr in enumerate(lrs, 1):
            # Gradients over many orders of magnitude, one of them exactly 0.
            g = rand(5, 13) * 10.0 ** torch.randint(-9, 2, (5, 13)).float()
            g[0, 0] = 0
            opt.param_groups[0]["lr"] = lr
            p.grad = g.clone()
            opt.step()
            s = opt.state[p]
            t |= {f"in.g.{i}": g, f"out.p.{i}": p.detach().clone()}
            t |= {f"out.m.{i}": s["exp_avg"].clone(), f"out.v.{i}": s["exp_avg_sq"].clone()}
        save("adamw", t, lr=lrs, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=wd)


def main():
    for old in OUT.glob("*.safetensors"):
        old.unlink()
    for f in (matmuls, elementwise, unary, reductions, views, embedding, linears, norms, ropes, swiglu, attentions, losses, clip, adamw):
        golden.setup(SEED)  # each group alone: adding a case changes no other group
        f()
    print(sum(_count.values()), "files,", sum(p.stat().st_size for p in OUT.iterdir()), "bytes")


if __name__ == "__main__":
    main()
