"""Goldens of tiny Mistrals, Qwen2s, Qwen3s and scaled RoPEs: testdata/families/VARIANT/.

	python testdata/gen/families.py

The folders are those of llama.py: a checkpoint as save_pretrained writes it,
golden.safetensors (tokens, logits, logits64), greedy.json where there is one,
and config.*.json that mean the same as config.json: as transformers 4 wrote it
(config.v4.json; config.v4-type.json has the older "type" for "rope_type"), with
every key left out whose value is the family's default (config.minimal.json), and
with keys that transformers ignores for the family (config.ignored.json).

cached.safetensors, where the scaling is dynamic, has what generation with a cache
gives: logits and logits64 [1,T,V] of the first prompt[0] tokens in one pass, then
of one token at a time. It differs from golden.safetensors by intent: keys stay in
the cache as they were rotated when they came.

configs.json has configurations and what transformers makes of them, or that it
refuses them. rope.json has the rotary frequencies of published models' scalings.
GGUF files are in families_gguf.py.
"""

import golden  # first: it mends sys.path

import copy
import json
import pathlib
import shutil
import warnings

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import families64
import llama

llama.llama64 = families64  # greedy continuations of every family

SEED = 20260601
OUT = golden.ROOT / "families"

SIZE = dict(vocab_size=48, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)


def tiny(family, seed, theta=10000.0, scaling=None, **kw):
    cfg = SIZE | dict(rope_parameters={"rope_type": "default", "rope_theta": theta, **(scaling or {})}) | kw
    if family == "qwen3":
        cfg.setdefault("head_dim", 12)
    c = AutoConfig.for_model(family, **cfg)
    return llama.init(AutoModelForCausalLM.from_config(c, attn_implementation="eager"), seed)


def load(path):
    """A fresh model: transformers' dynamic RoPE remembers the longest sequence that it saw."""
    m, info = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"] and not info["unexpected_keys"], info
    return m.eval()


def write_golden(path, model, tokens, **meta):
    a, b = llama.logits32(model, tokens), families64.logits(model, tokens)
    err = float((a.double() - b).abs().max())
    assert err < 1e-4, (path, err)
    assert 0.2 < float(b.std()) < 20, float(b.std())
    golden.write(path, dict(tokens=golden.i32(tokens), logits=a, logits64=b),
                 golden.provenance(SEED, "transformers") | {"max_abs_f32_minus_f64": repr(err)} | meta)
    print(f"{path.relative_to(golden.ROOT)}: |F32-F64| {err:.2g}, std {float(b.std()):.2f}")


def write_greedy(path, model, prompts, n=32):
    cases = []
    for p in prompts:
        got = llama.greedy(model, p, n, {model.config.eos_token_id})
        if got and got[1] > 2e-3 and len(set(got[0])) > 4:
            cases.append(dict(prompt=p, ids=got[0], min_gap=got[1]))
        if len(cases) == 2:
            break
    assert len(cases) == 2, (path, len(cases))
    golden.write_json(path, golden.provenance(SEED, "transformers") | {"cases": cases})


def v4(cfg):
    """config.json as transformers 4 wrote it before there were layer_types."""
    d = llama.v4(cfg)
    d.pop("layer_types", None)
    return d


def other_config(dir, name, cfg, tokens):
    """Writes cfg beside config.json after proving that it means the same."""
    work = pathlib.Path("/tmp") / f"families-{dir.name}-{name}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(dir, work)
    golden.write_json(work / "config.json", cfg)
    assert torch.equal(llama.logits32(load(work), tokens), llama.logits32(load(dir), tokens)), (dir, name)
    shutil.rmtree(work)
    golden.write_json(dir / name, cfg)


def variant(name, model, seed, b=1, t=24, dtype=torch.float32, old=False, old_type=False, minimal=None, greedy=False,
            edit=None, unlike=None, ignored=None, differs=True):
    """Writes a variant. unlike changes the configuration: other logits prove that what it takes away matters."""
    dir = OUT / name
    model.to(dtype).save_pretrained(dir)
    f = dir / "config.json"
    cfg = json.loads(f.read_text())
    if edit:
        cfg |= edit
        f.write_text(json.dumps(cfg, indent=2, sort_keys=True) + "\n")
    model = load(dir)  # upcast: what is computed is what was stored
    tokens = llama.tokens_for(model, b, t, seed)
    write_golden(dir / "golden.safetensors", model, tokens)
    if unlike:
        m = AutoModelForCausalLM.from_config(AutoConfig.for_model(**(cfg | unlike)), attn_implementation="eager").eval()
        m.load_state_dict(model.state_dict())
        d = float((llama.logits32(m, tokens) - llama.logits32(load(dir), tokens)).abs().max())
        assert (d > 1e-2) == differs and (differs or d == 0), (name, d)
    if old:
        other_config(dir, "config.v4.json", v4(cfg), tokens)
    if old_type:
        d = v4(cfg)
        d["rope_scaling"] = {"type" if k == "rope_type" else k: v for k, v in d["rope_scaling"].items()}
        other_config(dir, "config.v4-type.json", d, tokens)
    if minimal:
        other_config(dir, "config.minimal.json", {k: cfg[k] for k in minimal}, tokens)
    if ignored:
        other_config(dir, "config.ignored.json", cfg | ignored, tokens)
    if greedy:
        write_greedy(dir / "greedy.json", load(dir), llama.prompts(model, seed))
    (dir / "generation_config.json").unlink(missing_ok=True)
    return load(dir)


SIZES = ["model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]


def mistral():
    window = dict(sliding_window=7, num_hidden_layers=3)
    full = dict(sliding_window=None)
    variant("mistral", tiny("mistral", 1, sliding_window=None), 1, old=True, greedy=True,
            ignored=dict(attention_bias=True, mlp_bias=True, use_sliding_window=True, max_window_layers=1, partial_rotary_factor=0.5))
    variant("mistral-window", tiny("mistral", 2, **window), 2, old=True, greedy=True, unlike=full)
    variant("mistral-window-batch", tiny("mistral", 3, sliding_window=5, tie_word_embeddings=True), 3, b=3, t=11, unlike=full)
    variant("mistral-window-1", tiny("mistral", 4, sliding_window=1), 4, t=9, unlike=full)
    variant("mistral-window-equal", tiny("mistral", 5, sliding_window=12), 5, t=12, unlike=full, differs=False)
    variant("mistral-head-dim", tiny("mistral", 6, head_dim=16, sliding_window=9), 6, old=True, unlike=full)
    variant("mistral-minimal", tiny("mistral", 7, hidden_size=32, num_attention_heads=8, num_key_value_heads=8, rms_norm_eps=1e-6,
                                    max_position_embeddings=4096 * 32, sliding_window=4096), 7, t=12, minimal=SIZES)
    variant("mistral-bf16", tiny("mistral", 8, **window), 8, dtype=torch.bfloat16, old=True, unlike=full)
    variant("mistral-f16", tiny("mistral", 9, **window), 9, dtype=torch.float16, unlike=full)


def qwen2():
    window = dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=7, max_window_layers=1)
    off = dict(use_sliding_window=False, layer_types=None)
    variant("qwen2", tiny("qwen2", 11), 11, old=True, greedy=True,
            ignored=dict(attention_bias=False, mlp_bias=True, partial_rotary_factor=0.5))
    variant("qwen2-tied", tiny("qwen2", 12, tie_word_embeddings=True, num_key_value_heads=1), 12, b=2, t=13, old=True, greedy=True)
    # As Qwen2.5's config.json: a window that is not used.
    variant("qwen2-window-unused", tiny("qwen2", 13, max_window_layers=1), 13, old=True,
            edit=dict(sliding_window=7, use_sliding_window=False))
    variant("qwen2-window", tiny("qwen2", 14, **window), 14, old=True, greedy=True, unlike=off)
    variant("qwen2-window-above", tiny("qwen2", 15, **(window | dict(max_window_layers=3))), 15, old=True, unlike=off, differs=False)
    variant("qwen2-window-all", tiny("qwen2", 16, **(window | dict(max_window_layers=0))), 16, b=2, t=17, old=True, unlike=off)
    variant("qwen2-layer-types", tiny("qwen2", 17, **(window | dict(
        max_window_layers=3, layer_types=["sliding_attention", "full_attention", "sliding_attention"]))), 17, unlike=off)
    variant("qwen2-head-dim", tiny("qwen2", 18, head_dim=16), 18, old=True)
    variant("qwen2-minimal", tiny("qwen2", 19, hidden_size=64, num_attention_heads=32, num_key_value_heads=32, num_hidden_layers=1,
                                  rms_norm_eps=1e-6, max_position_embeddings=32768), 19, t=12, minimal=SIZES)
    variant("qwen2-bf16", tiny("qwen2", 20, tie_word_embeddings=True), 20, dtype=torch.bfloat16, old=True)
    variant("qwen2-f16", tiny("qwen2", 21), 21, dtype=torch.float16)


def qwen3():
    window = dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=7, max_window_layers=2)
    off = dict(use_sliding_window=False, layer_types=None)
    variant("qwen3", tiny("qwen3", 31), 31, old=True, greedy=True, ignored=dict(mlp_bias=True, partial_rotary_factor=0.5))
    variant("qwen3-tied", tiny("qwen3", 32, tie_word_embeddings=True, head_dim=8, num_key_value_heads=1), 32, b=2, t=13, old=True, greedy=True)
    variant("qwen3-bias", tiny("qwen3", 33, attention_bias=True), 33, old=True)
    variant("qwen3-window-unused", tiny("qwen3", 34, max_window_layers=1), 34, old=True, edit=dict(sliding_window=7, use_sliding_window=False))
    variant("qwen3-window", tiny("qwen3", 35, **window), 35, old=True, greedy=True, unlike=off)
    variant("qwen3-minimal", tiny("qwen3", 36, hidden_size=8, head_dim=128, num_attention_heads=32, num_key_value_heads=32, num_hidden_layers=1,
                                  rms_norm_eps=1e-6, max_position_embeddings=32768), 36, t=12, dtype=torch.bfloat16, minimal=SIZES)
    variant("qwen3-bf16", tiny("qwen3", 37), 37, dtype=torch.bfloat16, old=True)
    variant("qwen3-f16", tiny("qwen3", 38, tie_word_embeddings=True), 38, dtype=torch.float16)


def write_cached(dir, tokens, n):
    """Logits of the first n tokens at once, then of each further one, with a cache: F32 and F64."""
    out = {}
    for name in ("logits", "logits64"):
        with torch.no_grad():
            m = load(dir)
            if name == "logits64":
                with families64.patched():
                    out[name] = _steps(families64.double(m), tokens, n)
            else:
                out[name] = _steps(m, tokens, n)
    err = float((out["logits"].double() - out["logits64"]).abs().max())
    assert err < 1e-4, (dir, err)
    whole = llama.logits32(load(dir), tokens)
    d = float((whole - out["logits"]).abs().max())
    golden.write(dir / "cached.safetensors", dict(tokens=golden.i32(tokens), prompt=golden.i32([n]), **out),
                 golden.provenance(SEED, "transformers") | {"max_abs_cached_minus_whole": repr(d)})
    print(f"{dir.name}: cached from {n}, differs from the whole pass by {d:.2g}")
    return d


def _steps(m, tokens, n):
    r = m(input_ids=tokens[:, :n], use_cache=True)
    z = [r.logits]
    for i in range(n, tokens.shape[1]):
        r = m(input_ids=tokens[:, i : i + 1], past_key_values=r.past_key_values, use_cache=True)
        z.append(r.logits)
    return torch.cat(z, 1)


def ropes():
    """Every scaling on every family that can have it."""
    small = dict(hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24)
    for i, family in enumerate(("llama", "qwen2", "qwen3", "mistral")):
        kw = small | {"mistral": dict(sliding_window=None), "qwen3": dict(head_dim=12)}.get(family, {})
        full = family == "llama"

        def one(name, seed, scaling, theta=10000.0, differs=True, t=40, against=None, **more):
            extra = {k: more.pop(k) for k in ("old", "old_type", "greedy", "b") if k in more}
            model = tiny(family, 100 * (i + 1) + seed, theta=theta, scaling=scaling, **(kw | more))
            other = {"rope_parameters": {"rope_theta": theta} | (against or {"rope_type": "default"})}
            return variant(f"{family}-rope-{name}", model, 100 * (i + 1) + seed, t=t, unlike=other, differs=differs, **extra)

        one("linear", 1, dict(rope_type="linear", factor=2.5), old=True, old_type=True, t=24)
        one("dynamic", 2, dict(rope_type="dynamic", factor=2.0), max_position_embeddings=16, old=True, old_type=True)
        dir = OUT / f"{family}-rope-dynamic"
        tokens = llama.tokens_for(load(dir), 1, 40, 100 * (i + 1) + 2)
        assert write_cached(dir, tokens, 10) > 1e-3
        one("dynamic-short", 3, dict(rope_type="dynamic", factor=4.0), max_position_embeddings=40, t=40 if full else 20, differs=False)
        one("llama3", 4, dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
            theta=500000.0, old=True)
        one("yarn", 5, dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64), old=True, old_type=True, greedy=full)
        if full:
            yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)
            one("dynamic-batch", 6, dict(rope_type="dynamic", factor=3.0), max_position_embeddings=8, b=2, t=15)
            one("dynamic-edge", 7, dict(rope_type="dynamic", factor=3.0), max_position_embeddings=16, t=17)
            one("yarn-attention-factor", 8, yarn | dict(attention_factor=1.25), old=True, against=yarn)
            one("yarn-attention-factor-0", 9, yarn | dict(attention_factor=0.75), theta=100000.0, against=yarn)
            one("yarn-mscale", 10, yarn | dict(mscale=0.707, mscale_all_dim=1.0), old=True, against=yarn)
            one("yarn-mscale-alone", 11, yarn | dict(mscale=0.707), old=True, against=yarn, differs=False)
            far = yarn | dict(original_max_position_embeddings=512)
            one("yarn-beta", 12, far | dict(beta_fast=4.0, beta_slow=0.5), old=True, head_dim=16, against=far)
            one("yarn-no-truncate", 13, far | dict(truncate=False), old=True, head_dim=16, against=far)
            one("yarn-no-original", 14, dict(rope_type="yarn", factor=4.0), max_position_embeddings=64, against=yarn, differs=False)
            one("yarn-steep", 15, yarn | dict(beta_fast=1.0, beta_slow=1.0, truncate=False), against=yarn)
            one("yarn-factor-1", 16, yarn | dict(factor=1.0), differs=False, max_position_embeddings=64)
            one("llama3-no-original", 17, dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0),
                theta=500000.0, max_position_embeddings=64)
    # Ignored by the default RoPE of these families; with any scaling the model of transformers breaks.
    variant("llama-partial-rotary", tiny("llama", 60, partial_rotary_factor=0.5), 60, old=True)


KEYS = ("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "rope_parameters", "attention_bias", "mlp_bias",
        "sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "hidden_act", "bos_token_id", "eos_token_id")


def write_lines(path, cases):
    """As write_json, a case a line."""
    head = json.dumps(golden.provenance(SEED, "transformers") | {"cases": []}, indent=1)
    path.write_text(head.removesuffix("[]\n}") + "[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")
    assert json.loads(path.read_text())["cases"] == json.loads(json.dumps(cases))


def configs():
    """What transformers makes of a configuration: its defaults, and what it refuses when a model is built or run."""
    out = []
    quarter = dict(vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2)

    def add(about, run=True, **cfg):
        case = dict(about=about, config=cfg)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                f = pathlib.Path("/tmp/families-config/config.json")
                golden.write_json(f, cfg)
                c = AutoConfig.from_pretrained(f.parent)
                case["resolved"] = {k: getattr(c, k) for k in KEYS if hasattr(c, k)} | dict(head_dim=families64.head_dim(c))
                if run:
                    m = AutoModelForCausalLM.from_config(c, attn_implementation="eager").eval()
                    llama.logits32(m, torch.arange(12)[None])
        except Exception as e:
            case["error"] = f"{type(e).__name__}: {' '.join(str(e).split())}"
        out.append(case)
        print(about, "->", case.get("error", "ok"))

    for f in families64.FAMILIES:
        add(f"{f}: nothing but the type", run=False, model_type=f)
        q = quarter | dict(model_type=f)
        add(f"{f}: num_key_value_heads null", **(q | dict(num_key_value_heads=None)))
        add(f"{f}: head_dim null", **(q | dict(head_dim=None)))
        add(f"{f}: rope_theta without rope_scaling", rope_theta=5e5, **q)
        add(f"{f}: rope_scaling null", rope_theta=5e5, rope_scaling=None, **q)
        add(f"{f}: rope_parameters and rope_theta", rope_theta=5e5, rope_parameters=dict(rope_type="default", rope_theta=1e6), **q)
        add(f"{f}: rope_scaling wins over rope_parameters", rope_theta=5e5, rope_scaling=dict(type="linear", factor=2.0),
            rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=1e6), **q)
        add(f"{f}: both type and rope_type", rope_scaling=dict(type="dynamic", rope_type="linear", factor=2.0), rope_theta=1e4, **q)
        add(f"{f}: original_max_position_embeddings at the top wins", rope_theta=1e4, original_max_position_embeddings=32,
            rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64), **q)
        add(f"{f}: yarn, factor null", rope_theta=1e4, max_position_embeddings=256,
            rope_scaling=dict(rope_type="yarn", factor=None, original_max_position_embeddings=64), **q)
        for kind in ("linear", "dynamic", "yarn", "llama3"):
            more = dict(low_freq_factor=1.0, high_freq_factor=4.0) if kind == "llama3" else {}
            add(f"{f}: partial_rotary_factor with {kind}", rope_theta=1e4, partial_rotary_factor=0.5, rope_scaling=dict(rope_type=kind, factor=2.0, **more), **q)
        add(f"{f}: linear without factor", rope_theta=1e4, rope_scaling=dict(rope_type="linear"), **q)
        add(f"{f}: a factor below 1", rope_theta=1e4, rope_scaling=dict(rope_type="linear", factor=0.5), **q)
        add(f"{f}: an unknown rope_type", rope_theta=1e4, rope_scaling=dict(rope_type="mystery", factor=2.0), **q)
        add(f"{f}: longrope", rope_theta=1e4, rope_scaling=dict(rope_type="longrope", factor=2.0, short_factor=[1.0, 1.0], long_factor=[2.0, 2.0]), **q)
        add(f"{f}: a window", sliding_window=3, **q)
        add(f"{f}: a window, use_sliding_window false", sliding_window=3, use_sliding_window=False, **q)
        add(f"{f}: a window, use_sliding_window true", sliding_window=3, use_sliding_window=True, max_window_layers=1, **q)
        add(f"{f}: layer_types sliding without a window", sliding_window=None, layer_types=["sliding_attention"] * 3, **q)
        add(f"{f}: layer_types sliding, use_sliding_window false", sliding_window=3, use_sliding_window=False,
            layer_types=["full_attention", "sliding_attention", "full_attention"], **q)
        add(f"{f}: layer_types too short", layer_types=["full_attention"], **q)
        add(f"{f}: layer_types with an unknown entry", layer_types=["full_attention", "round_attention", "full_attention"], **q)
        add(f"{f}: a window of 0", sliding_window=0, use_sliding_window=True, max_window_layers=0, **q)
        add(f"{f}: hidden_size not a multiple of the heads", **(q | dict(hidden_size=18)))
        add(f"{f}: heads not a multiple of KV heads", **(q | dict(num_key_value_heads=3)))
        add(f"{f}: hidden_act gelu", hidden_act="gelu", **q)
    write_lines(OUT / "configs.json", out)


def ropes_of_models():
    """inv_freq and the factor of cos and sin at sizes that are in use: transformers' F32, and F64."""
    out = []

    def add(about, family, length=None, theta=10000.0, head_dim=128, positions=4096, **scaling):
        cfg = dict(model_type=family, hidden_size=4 * head_dim, num_attention_heads=4, head_dim=head_dim, max_position_embeddings=positions,
                   rope_parameters=dict(rope_theta=theta, **scaling))
        c = AutoConfig.for_model(**copy.deepcopy(cfg))
        f64, factor64 = families64.rope(c, length)
        if scaling["rope_type"] == "default":
            f, factor = families64.modeling_llama.LlamaRotaryEmbedding.compute_default_rope_parameters(c)
        else:
            f, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](c, None, seq_len=length)
        assert golden.rel(f, f64) < 1e-6 and abs(factor - factor64) < 1e-12, about
        out.append(dict(about=about, config=cfg, length=length, attention_factor=factor, inv_freq=f.double().tolist(), inv_freq64=f64.tolist()))

    add("Llama 2", "llama", rope_type="default")
    add("Llama 3.1", "llama", theta=5e5, positions=131072, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
    add("Llama 3.2 1B", "llama", theta=5e5, head_dim=64, positions=131072, rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
    add("a long Llama 2, linear", "llama", positions=32768, rope_type="linear", factor=8.0)
    add("Yarn Llama 2", "llama", positions=65536, rope_type="yarn", factor=16.0, original_max_position_embeddings=4096)
    add("Qwen2.5, YaRN", "qwen2", theta=1e6, positions=32768, rope_type="yarn", factor=4.0, original_max_position_embeddings=32768)
    add("Qwen3, YaRN", "qwen3", theta=1e6, positions=131072, rope_type="yarn", factor=4.0, original_max_position_embeddings=32768)
    add("YaRN as DeepSeek has it", "llama", head_dim=64, positions=163840, rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0)
    add("YaRN not truncated", "llama", theta=150000.0, head_dim=64, positions=131072, rope_type="yarn", factor=32.0, original_max_position_embeddings=4096, beta_fast=32.0, beta_slow=1.0, truncate=False)
    add("YaRN, another attention_factor", "mistral", theta=1e6, positions=262144, rope_type="yarn", factor=16.0, original_max_position_embeddings=16384, attention_factor=1.0)
    for n in (None, 4095, 4096, 4097, 6000, 16384):
        add("dynamic", "llama", length=n, rope_type="dynamic", factor=2.0)
    add("dynamic, a factor of 1", "llama", length=8192, rope_type="dynamic", factor=1.0)
    write_lines(OUT / "rope.json", out)


def main():
    golden.setup(SEED)
    for p in OUT.glob("*"):
        if p.is_dir() and p.name != "gguf":
            shutil.rmtree(p)
    mistral()
    qwen2()
    qwen3()
    ropes()
    configs()
    ropes_of_models()
    print(sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
