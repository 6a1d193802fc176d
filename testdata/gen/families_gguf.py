"""Goldens of GGUF files of the families: testdata/families/gguf/NAME.TYPE.gguf.

	python testdata/gen/families_gguf.py

As testdata/llama/gguf: the file as llama.cpp's converter writes it, and
NAME.TYPE.golden.safetensors (tokens, logits, logits64) of transformers on the
dequantised weights (gguf-py's). Mistral is architecture "llama" there, its rows of
q and k permuted; qwen2 and qwen3 keep Hugging Face's order, and have no vocab_size
and no rope.dimension_count. No sliding window is written for any of them.

gguf-py cannot quantise to the types with K in their names nor to IQ4_NL:
ggml_quantize_chunk of the libggml that comes with llama-cpp-python does. A matrix
whose rows are no multiple of 256 gets the type that llama.cpp's quantiser falls
back to. Every file is evaluated by llama.cpp too.
"""

import golden  # first: it mends sys.path

import ctypes
import pathlib
import shutil

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM

import families
import families64
import llama

SEED = families.SEED
OUT = families.OUT / "gguf"
Q = gguf.GGMLQuantizationType
F = gguf.LlamaFileType
NAMES = llama.NAMES | {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
llama.NAMES = NAMES

FALLBACK = {Q.Q2_K: Q.IQ4_NL, Q.Q3_K: Q.IQ4_NL, Q.Q4_K: Q.Q5_0, Q.Q5_K: Q.Q5_1, Q.Q6_K: Q.Q8_0}
FILE_TYPE = {Q.F32: F.ALL_F32, Q.Q8_0: F.MOSTLY_Q8_0, Q.Q5_0: F.MOSTLY_Q5_0, Q.Q5_1: F.MOSTLY_Q5_1, Q.Q2_K: F.MOSTLY_Q2_K,
             Q.Q3_K: F.MOSTLY_Q3_K_M, Q.Q4_K: F.MOSTLY_Q4_K_M, Q.Q5_K: F.MOSTLY_Q5_K_M, Q.Q6_K: F.MOSTLY_Q6_K, Q.IQ4_NL: F.MOSTLY_IQ4_NL}


def ggml():
    import llama_cpp

    lib = ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    return lib


def quantize(a, qtype):
    a = np.ascontiguousarray(a, dtype=np.float32)
    try:
        return gguf.quants.quantize(a, qtype)
    except NotImplementedError:
        block, size = gguf.GGML_QUANT_SIZES[qtype]
        out = np.zeros((a.shape[0], a.shape[1] // block * size), dtype=np.uint8)
        n = ggml().ggml_quantize_chunk(int(qtype), a.ctypes.data, out.ctypes.data, 0, a.shape[0], a.shape[1], None)
        assert n == out.nbytes, (n, out.nbytes)
        return out


def kind(name, shape, qtype):
    """The type of a tensor: norms and biases stay F32, Q4_K_M has some matrices in Q6_K."""
    if len(shape) == 1:
        return Q.F32
    if qtype == Q.Q4_K and ("v_proj" in name or "down_proj" in name or "embed_tokens" in name):
        qtype = Q.Q6_K
    return FALLBACK[qtype] if qtype in FALLBACK and shape[1] % 256 else qtype


def write_vocab(w, c, arch):
    """A vocabulary that loads; the goldens are of ids."""
    tokens = ["<unk>", "<s>", "</s>"] + [chr(0x21 + i) for i in range(c.vocab_size - 5)] + ["ab", "cd"]
    if arch == "llama":
        w.add_tokenizer_model("llama")
        w.add_tokenizer_pre("default")
        w.add_token_list(tokens)
        w.add_token_scores([0.0] * 3 + [-float(i) for i in range(len(tokens) - 3)])
        w.add_token_types([2, 3, 3] + [1] * (len(tokens) - 3))
        w.add_unk_token_id(0)
    else:
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("qwen2")
        w.add_token_list(tokens)
        w.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
        w.add_token_merges(["a b", "c d"])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_add_bos_token(arch == "llama")


def write_gguf(path, model, qtype):
    """Returns the state dict that a reader gets: dequantised, rows in Hugging Face's order."""
    c = model.config
    arch = "llama" if c.model_type == "mistral" else c.model_type
    path.parent.mkdir(parents=True, exist_ok=True)
    w = gguf.GGUFWriter(path, arch)
    w.add_name("tenon tiny")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    p = c.rope_parameters
    if p["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(p["factor"])
    elif p["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(p["factor"])
        w.add_rope_scaling_orig_ctx_len(p["original_max_position_embeddings"])
        if "attention_factor" in p:
            w.add_rope_scaling_yarn_attn_factor(p["attention_factor"])
        if "beta_fast" in p:
            w.add_rope_scaling_yarn_beta_fast(p["beta_fast"])
            w.add_rope_scaling_yarn_beta_slow(p["beta_slow"])
    w.add_rope_freq_base(p["rope_theta"])
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    if hasattr(c, "head_dim"):
        w.add_key_length(c.head_dim)
        w.add_value_length(c.head_dim)
    w.add_file_type(int(FILE_TYPE[qtype]))
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if arch == "llama":
        w.add_vocab_size(c.vocab_size)
        w.add_rope_dimension_count(families64.head_dim(c))
    write_vocab(w, c, arch)
    if p["rope_type"] == "llama3":
        plain = 1.0 / p["rope_theta"] ** (torch.arange(0, families64.head_dim(c), 2, dtype=torch.float64) / families64.head_dim(c))
        w.add_tensor("rope_freqs.weight", (plain / families64.inv_freq(c)).float().numpy())
    state, used = {}, {}
    for name, t in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        a = t.float().numpy()
        heads = None
        if arch == "llama":
            heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}.get(name.split(".")[-2])
        k = kind(name, a.shape, qtype)
        used[name] = k
        data = quantize(llama.permute(a, heads) if heads else a, k)
        w.add_tensor(llama.gguf_name(name), data, raw_dtype=k)
        back = gguf.quants.dequantize(data, k)
        state[name] = torch.from_numpy(np.ascontiguousarray(llama.unpermute(back, heads) if heads else back))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return state, sorted({k.name for k in used.values()})


def llama_cpp_logits(path, tokens):
    """llama.cpp's logits, with the file's own YaRN parameters (llama-cpp-python's defaults would replace them)."""
    import llama_cpp

    m = llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0,
                        yarn_beta_fast=-1.0, yarn_beta_slow=-1.0, yarn_attn_factor=-1.0, yarn_ext_factor=-1.0)
    m.eval(tokens)
    return torch.from_numpy(m.scores[: len(tokens)].copy())


def one(name, model, qtype, seed, t=24, agree=None, by_llama_cpp=True):
    path = OUT / f"{name}.{qtype.name}.gguf"
    state, types = write_gguf(path, model, qtype)
    m = AutoModelForCausalLM.from_config(model.config, attn_implementation="eager").eval()
    missing, extra = m.load_state_dict(state, strict=False)
    assert not extra and set(missing) <= {"lm_head.weight"}, (missing, extra)
    m.tie_weights()
    tokens = llama.tokens_for(m, 1, t, seed)
    families.write_golden(OUT / f"{name}.{qtype.name}.golden.safetensors", m, tokens, types=" ".join(types), model_type=model.config.model_type)
    got = llama_cpp_logits(path, tokens[0].tolist())
    d = float((got - llama.logits32(m, tokens)[0]).abs().max())
    print(f"  {types}; llama.cpp differs by {d:.3g}")
    assert (d < agree) == by_llama_cpp, (name, d)


def main():
    golden.setup(SEED)
    shutil.rmtree(OUT, ignore_errors=True)
    size = dict(hidden_size=32, intermediate_size=64)
    F32 = 0.02  # llama.cpp computes with F16 tables and its own quantisation of activations
    q8 = 0.3
    one("mistral", families.tiny("mistral", 71, sliding_window=None, **size), Q.F32, 71, agree=F32)
    one("mistral", families.tiny("mistral", 72, sliding_window=None, head_dim=16, **size), Q.Q8_0, 72, agree=q8)
    one("qwen2", families.tiny("qwen2", 73, **size), Q.F32, 73, agree=F32)
    one("qwen2", families.tiny("qwen2", 74, tie_word_embeddings=True, **size), Q.Q8_0, 74, agree=q8)
    one("qwen3", families.tiny("qwen3", 75, head_dim=16, **size), Q.F32, 75, agree=F32)
    one("qwen3", families.tiny("qwen3", 76, head_dim=16, tie_word_embeddings=True, **size), Q.Q8_0, 76, agree=q8)
    one("qwen2", families.tiny("qwen2", 77, **size), Q.Q5_0, 77, agree=1)
    one("qwen3", families.tiny("qwen3", 78, head_dim=16, **size), Q.Q5_1, 78, agree=1)
    one("qwen3", families.tiny("qwen3", 79, head_dim=16, **size), Q.IQ4_NL, 79, agree=1)

    linear = dict(rope_type="linear", factor=2.5)
    yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)
    llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=4)
    for i, family in enumerate(("mistral", "qwen2", "qwen3")):
        kw = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1) | {
            "mistral": dict(sliding_window=None), "qwen2": {}, "qwen3": dict(head_dim=16)}[family]
        one(f"{family}-linear", families.tiny(family, 80 + i, scaling=linear, **kw), Q.F32, 80 + i, agree=F32)
        one(f"{family}-yarn", families.tiny(family, 83 + i, scaling=yarn, **kw), Q.F32, 83 + i, agree=F32)
    kw = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, sliding_window=None)
    far = yarn | dict(original_max_position_embeddings=512, beta_fast=4.0, beta_slow=0.5)
    one("mistral-yarn-beta", families.tiny("mistral", 87, scaling=far, **kw), Q.F32, 87, agree=F32, by_llama_cpp=False)
    factor = dict(attention_factor=1.25)
    one("mistral-yarn-attention-factor", families.tiny("mistral", 89, scaling=yarn | factor, **kw), Q.F32, 89, agree=F32, by_llama_cpp=False)
    one("mistral-llama3", families.tiny("mistral", 88, theta=500000.0, scaling=llama3, **kw), Q.F32, 88, agree=F32)

    wide = dict(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True, vocab_size=32)
    for i, k in enumerate((Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K)):
        family = ("mistral", "qwen3", "qwen2")[i % 3]
        more = dict(sliding_window=None) if family == "mistral" else {}
        if family == "qwen2":
            more["head_dim"] = 64
        one(f"{family}-wide", families.tiny(family, 90 + i, **(wide | more)), k, 90 + i, t=12, agree=1.5)
    print(sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
