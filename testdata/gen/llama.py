"""Goldens of whole tiny Llamas: testdata/llama/VARIANT/ and testdata/llama/gguf/.

	python testdata/gen/llama.py

Each VARIANT is a checkpoint as transformers' save_pretrained writes it, with
golden.safetensors beside it:

	tokens    I32 [B,T]
	logits    F32 [B,T,V]   transformers, eager attention, F32
	logits64  F64 [B,T,V]   the same in F64 throughout (llama64.py)

greedy.json, where there is one, is a greedy continuation with the smallest
distance between the two best logits on the way. config.v4.json and
config.minimal.json mean the same as config.json: as transformers 4 wrote it,
and with every key left out whose value is the default.
"""

import golden  # first: it mends sys.path

import json
import math
import pathlib
import shutil

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import llama64

SEED = 20260102
OUT = golden.ROOT / "llama"

V4_ONLY = {"rope_parameters", "dtype", "transformers_version"}


def init(model, seed):
    """Random weights large enough that logits are O(1) and norms, biases matter."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        r = torch.randn(p.shape, generator=g)
        if p.ndim == 1 and name.endswith("bias"):
            r = 0.2 * r
        elif p.ndim == 1:
            r = 1 + 0.2 * r
        elif "embed_tokens" in name or "lm_head" in name:
            r = r * 1.5 / math.sqrt(p.shape[1])
        else:
            r = r * 1.2 / math.sqrt(p.shape[1])
        p.data.copy_(r)
    return model.eval()


def tiny(seed, theta=10000.0, scaling=None, **kw):
    cfg = dict(
        vocab_size=96, hidden_size=32, intermediate_size=56, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256,
        rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": theta, **(scaling or {})},
    ) | kw
    return init(LlamaForCausalLM._from_config(LlamaConfig(**cfg), attn_implementation="eager"), seed)


@torch.no_grad()
def logits32(model, tokens):
    model.config._attn_implementation = "eager"
    return model(input_ids=tokens, use_cache=False).logits


def load(path):
    m, info = LlamaForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    return m.eval()


def write_golden(path, model, tokens):
    a, b = logits32(model, tokens), llama64.logits(model, tokens)
    err = float((a.double() - b).abs().max())
    assert err < 1e-4, err
    assert 0.2 < float(b.std()) < 20, float(b.std())
    meta = golden.provenance(SEED, "transformers") | {"max_abs_f32_minus_f64": repr(err)}
    golden.write(path, dict(tokens=golden.i32(tokens), logits=a, logits64=b), meta)
    print(f"{path.relative_to(golden.ROOT)}: |F32-F64| {err:.2g}, std {float(b.std()):.2f}")


def tokens_for(model, b, t, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(3, model.config.vocab_size, (b, t), generator=g)


@torch.no_grad()
def greedy(model, prompt, n, eos):
    """n greedy tokens from F64 logits, and the smallest top-two gap; None if eos comes."""
    ids, gap = list(prompt), math.inf
    with llama64.patched():
        m = llama64.double(model)
        for _ in range(n):
            z = m(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            top = z.topk(2)
            gap = min(gap, float(top.values[0] - top.values[1]))
            if int(top.indices[0]) in eos:
                return None
            ids.append(int(top.indices[0]))
    z = logits32(model, torch.tensor([ids]))[0]
    assert z[len(prompt) - 1 : -1].argmax(-1).tolist() == ids[len(prompt) :], "F32 and F64 disagree"
    return ids[len(prompt) :], gap


def write_greedy(path, model, prompts, n=32):
    eos, cases = {model.config.eos_token_id}, []
    for p in prompts:
        got = greedy(model, p, n, eos)
        if got and got[1] > 2e-3 and len(set(got[0])) > 4:
            cases.append(dict(prompt=p, ids=got[0], min_gap=got[1]))
        if len(cases) == 3:
            break
    assert len(cases) == 3, (path, len(cases))
    golden.write_json(path, golden.provenance(SEED, "transformers") | {"cases": cases})
    print(f"{path.relative_to(golden.ROOT)}: gaps {[round(c['min_gap'], 4) for c in cases]}")


def prompts(model, seed):
    return [tokens_for(model, 1, 3 + i % 6, seed + i)[0].tolist() for i in range(60)]


def v4(cfg):
    """config.json as transformers 4 wrote it."""
    d = {k: v for k, v in cfg.items() if k not in V4_ONLY}
    p = dict(cfg["rope_parameters"])
    d["rope_theta"] = p.pop("rope_theta")
    d["rope_scaling"] = None if p["rope_type"] == "default" else p
    d["torch_dtype"] = cfg["dtype"]
    d["transformers_version"] = "4.46.3"
    return dict(sorted(d.items()))


def other_config(dir, name, cfg, model, tokens):
    """Writes cfg beside config.json after proving that it means the same."""
    work = pathlib.Path("/tmp") / f"llama-{dir.name}-{name}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(dir, work)
    golden.write_json(work / "config.json", cfg)
    assert torch.equal(logits32(load(work), tokens), logits32(model, tokens)), (dir, name)
    shutil.rmtree(work)
    golden.write_json(dir / name, cfg)


def variant(name, model, seed, b=2, t=17, dtype=torch.float32, shard="5GB", old=False, minimal=None, with_greedy=False):
    dir = OUT / name
    model.to(dtype).save_pretrained(dir, max_shard_size=shard)
    model = load(dir)  # upcast: what is computed is what was stored
    tokens = tokens_for(model, b, t, seed)
    write_golden(dir / "golden.safetensors", model, tokens)
    cfg = json.loads((dir / "config.json").read_text())
    if old:
        other_config(dir, "config.v4.json", v4(cfg), model, tokens)
    if minimal:
        other_config(dir, "config.minimal.json", {k: cfg[k] for k in minimal}, model, tokens)
    if with_greedy:
        write_greedy(dir / "greedy.json", model, prompts(model, seed))
    return model


def rewrite(dir, change):
    """Changes the tensors of a checkpoint as older writers stored them; the logits stay."""
    f = dir / "model.safetensors"
    t = load_file(f)
    change(t)
    golden.write(f, t, {"format": "pt"})


def plain():
    variant("mha", tiny(1, rms_norm_eps=1e-6), 1, old=True, with_greedy=True, minimal=[
        "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"])
    variant("gqa-tied", tiny(2, hidden_size=48, num_attention_heads=6, num_key_value_heads=2, num_hidden_layers=3,
                             tie_word_embeddings=True), 2, old=True, with_greedy=True)
    variant("head-dim", tiny(3, head_dim=16, num_key_value_heads=2), 3, old=True)
    variant("bias", tiny(4, attention_bias=True, mlp_bias=True, num_key_value_heads=1), 4)
    variant("rope-llama3", tiny(5, theta=500000.0, num_key_value_heads=2, scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)),
        5, b=1, t=150, old=True)
    variant("rope-linear", tiny(6, theta=10000.0, scaling=dict(rope_type="linear", factor=2.5)), 6, old=True)
    variant("long", tiny(7, theta=500000.0, num_key_value_heads=2), 7, b=1, t=200)
    variant("bf16", tiny(8, num_key_value_heads=2), 8, dtype=torch.bfloat16, old=True)
    variant("f16", tiny(9, num_key_value_heads=2), 9, dtype=torch.float16)
    variant("sharded", tiny(10, num_key_value_heads=2), 10, shard="40KB")
    assert (OUT / "sharded" / "model.safetensors.index.json").exists()

    model = variant("old-inv-freq", tiny(11), 11, old=True)
    f = model.model.rotary_emb.inv_freq
    rewrite(OUT / "old-inv-freq", lambda t: t.update({f"model.layers.{i}.self_attn.rotary_emb.inv_freq": f.clone() for i in range(2)}))
    model = variant("tied-with-head", tiny(12, tie_word_embeddings=True), 12)
    rewrite(OUT / "tied-with-head", lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    for name in ("old-inv-freq", "tied-with-head"):
        g = load_file(OUT / name / "golden.safetensors")
        assert torch.equal(logits32(load(OUT / name), g["tokens"].long()), g["logits"]), name


# The tiny tokenizer's training text, which is also what its goldens are cut from.
TEXT = """The tenon is the tongue of wood that fits the mortise. A joint is strong when both are cut true.
What is a tenon? A tenon is a piece of wood. What is a mortise? A mortise is a hole in the wood.
How are you? I am fine, thank you. The model learns from the text, and the text is short.
1 2 3 4 5 6 7 8 9 10 11 12 100 2026. def main(): return 0  # ok
user assistant system helpful
"""

TEMPLATE = """{% for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system
You are tiny<|im_end|>
' }}{% endif %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tokenizer():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT.splitlines(keepends=True), trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    assert t.get_vocab_size() == 320
    return PreTrainedTokenizerFast(
        tokenizer_object=t, bos_token="<|im_start|>", eos_token="<|im_end|>", unk_token="<|endoftext|>",
        pad_token="<|im_end|>", chat_template=TEMPLATE, clean_up_tokenization_spaces=False)


def chat():
    """A model with a tokenizer and a chat template: what the command needs, end to end."""
    dir = OUT / "chat"
    tok = tokenizer()
    model = tiny(20, vocab_size=320, hidden_size=64, intermediate_size=96, num_key_value_heads=2, tie_word_embeddings=True)
    model = variant("chat", model, 20, t=11)
    tok.save_pretrained(dir)
    texts = ["The tenon is wood.", "What is a tenon?", "How are you?", "é 漢字 🙂 12 345", "  two  spaces\n", "a<|im_end|>b"]
    words = ["What is a tenon?", "How are you?", "A hole", "wood", "mortise and tenon", "1 2 3", "Thank you", "text", "short", "def", "ok", "fine"]
    chats = []
    for w in words:
        m = [dict(role="user", content=w)]
        s = tok.apply_chat_template(m, tokenize=False, add_generation_prompt=True)
        ids = tok(s, add_special_tokens=False)["input_ids"]
        got = greedy(model, ids, 24, {2})
        if got and got[1] > 2e-3:
            chats.append(dict(messages=m, text=s, prompt=ids, ids=got[0], completion=tok.decode(got[0]), min_gap=got[1]))
    assert len(chats) >= 3, len(chats)
    plain = []
    for w in words:
        ids = tok(w)["input_ids"]
        got = greedy(model, ids, 24, {2})
        if got and got[1] > 2e-3:
            plain.append(dict(text=w, prompt=ids, ids=got[0], completion=tok.decode(got[0]), min_gap=got[1]))
    assert len(plain) >= 2, len(plain)
    golden.write_json(dir / "tokenizer_golden.json", golden.provenance(SEED, "transformers", "tokenizers") | {
        "texts": [dict(text=x, ids=tok(x)["input_ids"]) for x in texts],
        "chats": chats[:3],
        "prompts": plain[:3],
    })
    print("chat:", len(chats), "chats", len(plain), "prompts")
    return model, tok


def permute(w, heads):
    """llama.cpp's order of a head's rows: rotary pairs (i, i+D/2) become neighbours."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    """The name in the file of a Hugging Face tensor."""
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in top:
        return top[name]
    _, _, layer, rest = name.split(".", 3)
    stem, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[stem]}.{kind}"


def write_gguf(path, model, qtype, tok=None):
    """Writes model as llama.cpp's converter would, its matrices in qtype.

    Returns the state dict that a reader gets: dequantised, rows in Hugging Face's order.
    """
    c = model.config
    path.parent.mkdir(parents=True, exist_ok=True)
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("tenon tiny")
    w.add_vocab_size(c.vocab_size)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_rope_dimension_count(c.head_dim)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    if c.head_dim != c.hidden_size // c.num_attention_heads:
        w.add_key_length(c.head_dim)
        w.add_value_length(c.head_dim)
    Q = gguf.GGMLQuantizationType
    w.add_file_type(int({
        Q.F32: gguf.LlamaFileType.ALL_F32, Q.F16: gguf.LlamaFileType.MOSTLY_F16, Q.BF16: gguf.LlamaFileType.MOSTLY_BF16,
        Q.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0, Q.Q4_0: gguf.LlamaFileType.MOSTLY_Q4_0, Q.Q4_1: gguf.LlamaFileType.MOSTLY_Q4_1,
    }[qtype]))
    kind = c.rope_parameters["rope_type"]
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(c.rope_parameters["factor"])
    elif kind == "llama3":
        base = llama64.inv_freq(LlamaConfig(head_dim=c.head_dim, rope_parameters={"rope_type": "default", "rope_theta": c.rope_parameters["rope_theta"]}))
        w.add_tensor("rope_freqs.weight", (base / llama64.inv_freq(c)).float().numpy())
    if tok is not None:
        v = tok.get_vocab()
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("smollm")
        w.add_token_list(sorted(v, key=v.get))
        w.add_token_types([3 if i < len(SPECIAL) else 1 for i in range(len(v))])
        merges = json.loads(tok.backend_tokenizer.to_str())["model"]["merges"]
        w.add_token_merges([" ".join(m) for m in merges])
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
        w.add_unk_token_id(0)
        w.add_pad_token_id(2)
        w.add_add_bos_token(False)
        w.add_chat_template(TEMPLATE)
    else:
        w.add_tokenizer_model("none")
    state = {}
    for name, p in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        a = p.float().numpy()
        heads = {"q": c.num_attention_heads, "k": c.num_key_value_heads}.get(name.split("_proj")[0].split(".")[-1]) if "_proj" in name else None
        stored = permute(a, heads) if heads else a
        t = qtype if a.ndim == 2 else Q.F32  # norms and biases stay F32
        data = gguf.quants.quantize(np.ascontiguousarray(stored), t)
        w.add_tensor(gguf_name(name), data, raw_dtype=t)
        back = gguf.quants.dequantize(data, t)
        state[name] = torch.from_numpy(np.ascontiguousarray(unpermute(back, heads) if heads else back))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return state


def llama_cpp_logits(path, tokens):
    """What llama.cpp makes of the file: proves that it is a sound GGUF."""
    import llama_cpp

    m = llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0)
    m.eval(tokens)
    return torch.from_numpy(m.scores[: len(tokens)].copy())


def ggufs(chat_model, tok):
    Q = gguf.GGMLQuantizationType

    def one(name, model, q, tok=None, check=False):
        dir = OUT / "gguf"
        path = dir / f"{name}.{q.name}.gguf"
        state = write_gguf(path, model, q, tok)
        m = LlamaForCausalLM._from_config(model.config, attn_implementation="eager").eval()
        missing, extra = m.load_state_dict(state, strict=False)
        assert not extra and set(missing) <= {"lm_head.weight"}, (missing, extra)
        m.tie_weights()
        tokens = tokens_for(m, 1, 12, 30)
        write_golden(dir / f"{name}.{q.name}.golden.safetensors", m, tokens)
        if check:
            got = llama_cpp_logits(path, tokens[0].tolist())
            want = logits32(m, tokens)[0]
            print("  llama.cpp:", float((got - want).abs().max()))
            assert (got - want).abs().max() < (0.02 if q == Q.F32 else 0.3), "llama.cpp disagrees"

    for q in (Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1):
        one("chat", chat_model, q, tok, check=True)
    small = dict(hidden_size=32, intermediate_size=64)
    one("llama3-untied", tiny(21, theta=500000.0, num_key_value_heads=2, scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=4), vocab_size=320, **small), Q.F32, tok, check=True)
    one("linear-bias", tiny(22, attention_bias=True, mlp_bias=True, scaling=dict(rope_type="linear", factor=2.5), vocab_size=320, **small),
        Q.F32, tok, check=True)
    # No tokenizer in this one: commands that are given ids need none.
    one("head-dim", tiny(23, head_dim=16, num_key_value_heads=1, **small), Q.Q8_0)


def main():
    golden.setup(SEED)
    shutil.rmtree(OUT, ignore_errors=True)
    plain()
    ggufs(*chat())
    print(sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
