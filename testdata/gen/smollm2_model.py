"""SmolLM2-135M-Instruct in transformers, from the GGUF file.

transformers' own GGUF reader is not used: this one takes the file's
pre-tokenizer, rotary base and row order literally.
"""

import golden  # first: it mends sys.path

import gguf
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import llama as tiny


def read():
    return gguf.GGUFReader(golden.MODEL)


def field(r, key):
    return r.fields[key].contents()


def config(r):
    f = lambda k: field(r, "llama." + k)
    return LlamaConfig(
        vocab_size=f("vocab_size"), hidden_size=f("embedding_length"), intermediate_size=f("feed_forward_length"),
        num_hidden_layers=f("block_count"), num_attention_heads=f("attention.head_count"), num_key_value_heads=f("attention.head_count_kv"),
        max_position_embeddings=f("context_length"), rms_norm_eps=float(np.float32(f("attention.layer_norm_rms_epsilon"))),
        rope_parameters={"rope_type": "default", "rope_theta": f("rope.freq_base")},
        bos_token_id=field(r, "tokenizer.ggml.bos_token_id"), eos_token_id=field(r, "tokenizer.ggml.eos_token_id"),
        tie_word_embeddings="output.weight" not in {t.name for t in r.tensors},
    )


def model(attention="eager"):
    """The model in F32, from the dequantised weights."""
    r = read()
    c = config(r)
    m = LlamaForCausalLM._from_config(c, attn_implementation=attention, dtype=torch.float32).eval()
    data = {t.name: t for t in r.tensors}
    used = set()
    with torch.no_grad():
        for name, p in m.named_parameters():
            t = data[tiny.gguf_name(name)]
            used.add(t.name)
            w = gguf.quants.dequantize(t.data, t.tensor_type).reshape(p.shape)
            if "q_proj" in name:
                w = tiny.unpermute(w, c.num_attention_heads)
            elif "k_proj" in name:
                w = tiny.unpermute(w, c.num_key_value_heads)
            p.copy_(torch.from_numpy(np.array(w)))
    assert used == set(data), set(data) - used
    m.tie_weights()
    m.config.use_cache = False
    m.name_or_path = m.config._name_or_path = "SmolLM2-135M-Instruct"
    return m


def tokenizer():
    """Rust tokenizers with the pre-tokenizer that tokenizer.ggml.pre = smollm names."""
    r = read()
    assert field(r, "tokenizer.ggml.pre") == "smollm"
    tokens = field(r, "tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ")) for m in field(r, "tokenizer.ggml.merges")]
    t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(tokens)}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    control = [s for s, k in zip(tokens, field(r, "tokenizer.ggml.token_type")) if k == 3]
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in control])
    assert t.get_vocab_size() == len(tokens)
    return PreTrainedTokenizerFast(
        tokenizer_object=t, chat_template=field(r, "tokenizer.chat_template"), clean_up_tokenization_spaces=False,
        bos_token=tokens[field(r, "tokenizer.ggml.bos_token_id")], eos_token=tokens[field(r, "tokenizer.ggml.eos_token_id")])
