"""Goldens of format/tokenizer for SentencePiece-style tokenizers.

    python testdata/gen/tokenizer_spm.py

trains small SentencePiece BPE models on the strings of tokenizer.py and writes
to testdata/tokenizer:

  NAME.model.gz             a SentencePiece model
  NAME.spm.json.gz          what the sentencepiece library makes of the strings with it
  NAME.json.gz              a tokenizer.json made from such a model by transformers
                            (or trained here: tekken), with one form of its parts
  NAME.golden.json.gz       what the Rust tokenizers library makes of the strings with it
  NAME.llamacpp.json.gz     what llama.cpp makes of them with the model as a GGUF file

`encode` is, in base64, the first 4 bytes of the SHA-256 of the ids of each string
(little-endian uint32); `decode` random ids and their text; `decoded` the SHA-256
of the texts of all strings' ids, each followed by a byte 0xff.
"""
import base64
import gzip
import hashlib
import io
import json
import math
import os
import random
import re
import sys
import tempfile
from importlib import metadata

import sentencepiece
import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.convert_slow_tokenizer import import_protobuf

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tokenizer as base

pb = import_protobuf()

SEED = base.SEED
OUT = base.OUT
TEKKEN = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTROL = ["[INST]", "[/INST]", "<|im_start|>", "<|im_end|>"]
USER = ["<mask>", "[WORD]", "ab", "  ", "\u2581\u2581\u2581", "[Both]"]


def train(corpus, vocab, **options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=out, model_type="bpe", vocab_size=vocab, num_threads=1, minloglevel=2, max_sentence_length=20000, **options)
    m = pb.ModelProto()
    m.ParseFromString(out.getvalue())
    m.trainer_spec.ClearField("input")
    return m


def make_models(corpus):
    """Llama's way; without dummy prefix; and with the library's defaults."""
    yield "sp-llama", train(corpus, 4000, byte_fallback=True, split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
                            allow_whitespace_only_pieces=True, character_coverage=0.98, control_symbols=CONTROL)
    yield "sp-nodummy", train(corpus, 3600, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
                              character_coverage=0.98, user_defined_symbols=USER, control_symbols=CONTROL)
    m = train(corpus, 3200, character_coverage=0.98, user_defined_symbols=USER[:3], control_symbols=CONTROL[:1], pad_id=3, unk_surface=" ?? ")
    for p in m.pieces:  # eight pieces each have the same score
        p.score = math.trunc(p.score / 8)
    # Pieces that are made but not written.
    for p in [p for p in m.pieces if p.type == 1][100:400:7]:
        p.type = 5
    yield "sp-nfkc", m


# ----------------------------------------------------------------- the goldens


def id_hash(ids):
    return hashlib.sha256(b"".join(i.to_bytes(4, "little") for i in ids)).digest()[:4]


def random_ids(size, short, n=500):
    r = random.Random(SEED + 1)
    return [[r.choice(short if r.random() < 0.5 else range(size)) for _ in range(r.randint(0, 14))] for _ in range(n)]


def spm_golden(m, strings, legacy):
    """Each text between control pieces is encoded by itself; without legacy only the first gets the dummy prefix."""
    first = sentencepiece.SentencePieceProcessor(model_proto=m.SerializeToString())
    n = pb.ModelProto()
    n.CopyFrom(m)
    if not legacy:
        n.normalizer_spec.add_dummy_prefix = False
    rest = sentencepiece.SentencePieceProcessor(model_proto=n.SerializeToString())
    control = sorted((p.piece for p in m.pieces if p.type == 3), key=len, reverse=True)
    cut = re.compile("(" + "|".join(map(re.escape, control)) + ")")
    ids = []
    for s in strings:
        some = []
        for i, part in enumerate(cut.split(s)):
            if i % 2:
                some.append(first.piece_to_id(part))
            elif part:
                some += (first if i == 0 else rest).encode(part)
        ids.append(some)
    texts = hashlib.sha256()
    for i in ids:
        texts.update(first.decode(i).encode() + b"\xff")
    short = [i for i, p in enumerate(m.pieces) if len(p.piece) == 1 or p.type != 1]
    return {
        "encode": base64.b64encode(b"".join(map(id_hash, ids))).decode(),
        "decode": [[i, first.decode(i)] for i in random_ids(len(m.pieces), short)],
        "decoded": texts.hexdigest(),
    }


def rust_decode(t, ids, skip):
    try:
        return t.decode(ids, skip_special_tokens=skip)
    except BaseException:  # the library panics where Strip takes more than there is
        return ""


def rust_golden(t, strings):
    ids = [t.encode(s).ids for s in strings]
    texts = hashlib.sha256()
    for i in ids:
        for skip in (False, True):
            texts.update(rust_decode(t, i, skip).encode() + b"\xff")
    known = sorted(t.get_vocab().values())
    short = [i for i in known if len(t.id_to_token(i)) == 1 or t.id_to_token(i).startswith(("<0x", "\u2581"))]
    decode = [[some, rust_decode(t, some, False), rust_decode(t, some, True)] for some in random_ids(known[-1] + 3, short)]
    return {"encode": base64.b64encode(b"".join(map(id_hash, ids))).decode(), "decode": decode, "decoded": texts.hexdigest()}


# ------------------------------------------------------- tokenizer.json's forms


def converted(m):
    """The model as transformers converts it."""
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, "tokenizer.model"), "wb") as f:
            f.write(m.SerializeToString())
        with open(os.path.join(d, "tokenizer_config.json"), "w") as f:
            json.dump({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": False}, f)
        return transformers.AutoTokenizer.from_pretrained(d)._tokenizer


def variants(m, strings):
    bos = lambda t: processors.TemplateProcessing(single="<s> $A", pair=None, special_tokens=[("<s>", t.token_to_id("<s>"))])
    legacy = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    llama = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])

    def fresh(drop_bytes=False, **flags):
        j = json.loads(converted(m).to_str())
        j["normalizer"] = j["pre_tokenizer"] = j["post_processor"] = j["decoder"] = None
        j["model"].update({"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True, **flags})
        j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] in ("<unk>", "<s>", "</s>")]
        for a in j["added_tokens"]:
            a["normalized"] = False
        if drop_bytes:
            j["model"]["vocab"] = {k.replace("<0xC", "<0xc") if k < "<0xC8" else k: v for k, v in j["model"]["vocab"].items()}
        return Tokenizer.from_str(json.dumps(j))

    t = fresh()
    t.normalizer, t.decoder = legacy, llama
    for a in base.added(False)[:-1]:
        t.add_tokens([a])
    t.post_processor = bos(t)
    yield "llama-legacy", t

    t = fresh()  # added tokens that are looked for in the normalised text
    t.normalizer, t.decoder = legacy, llama
    for a in base.added(True):
        t.add_tokens([a])
    yield "llama-normalized", t

    t = converted(m)  # Mistral's: not legacy, control tokens
    t.add_special_tokens([AddedToken(s, normalized=False) for s in CONTROL])
    t.post_processor = bos(t)
    yield "mistral", t

    t = fresh(byte_fallback=False)
    t.pre_tokenizer, t.decoder = pre_tokenizers.Metaspace("\u2581", "always", True), decoders.Metaspace("\u2581", "always", True)
    t.add_tokens(base.added(False)[7:])
    j = json.loads(t.to_str())
    j["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True}  # as old files write it
    t = Tokenizer.from_str(json.dumps(j))
    yield "metaspace", {"json": j, "tokenizer": t}

    t = fresh(drop_bytes=True, fuse_unk=False)
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(True, True)])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace("\u2581", "never", True), pre_tokenizers.Digits(individual_digits=True)])
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("\u2581", "never", True), decoders.Strip("a", 0, 1), decoders.Fuse(), decoders.Replace("e", "E"), decoders.Replace("th", "TH"), decoders.Strip(" ", 2, 1)])
    yield "metaspace-never", t

    split = pre_tokenizers.Split(Regex(TEKKEN), "isolated", False)
    t = base.train([s for i, s in enumerate(strings) if i % 3 == 0], 3000, None, pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), None, ignore_merges=True)
    yield "tekken", t


# ------------------------------------------------------------------- llama.cpp


def llamacpp_golden(m, strings, prefix):
    import gguf
    import llama_cpp

    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "vocab.gguf")
        w = gguf.GGUFWriter(path, "llama")
        w.add_context_length(64), w.add_embedding_length(8), w.add_block_count(1), w.add_feed_forward_length(8), w.add_head_count(1), w.add_layer_norm_rms_eps(1e-5)
        w.add_tokenizer_model("llama")
        w.add_token_list([p.piece for p in m.pieces])
        w.add_token_scores([p.score for p in m.pieces])
        w.add_token_types([p.type for p in m.pieces])
        w.add_add_space_prefix(prefix)
        w.write_header_to_file(), w.write_kv_data_to_file(), w.close()
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        model = llama_cpp.llama_model_load_from_file(path.encode(), params)
    vocab = llama_cpp.llama_model_get_vocab(model)
    ids, texts = [], hashlib.sha256()
    for s in strings:
        raw = s.encode()
        buf = (llama_cpp.llama_token * (len(raw) + 8))()
        n = llama_cpp.llama_tokenize(vocab, raw, len(raw), buf, len(buf), True, True)
        assert n >= 0
        ids.append(list(buf[:n]))
        out = bytes(8 * len(raw) + 64)
        tokens = (llama_cpp.llama_token * n)(*buf[1:n])
        k = llama_cpp.llama_detokenize(vocab, tokens, n - 1, out, len(out), False, True)
        assert k >= 0
        texts.update(out[:k] + b"\xff")
    return {"encode": base64.b64encode(b"".join(map(id_hash, ids))).decode(), "decoded": texts.hexdigest()}


def write(name, data):
    if "encode" in data:
        about = {"script": "testdata/gen/tokenizer_spm.py", "sentencepiece": sentencepiece.__version__, "tokenizers": tokenizers.__version__, "transformers": transformers.__version__, "seed": SEED}
        if "llamacpp" in name:
            about["llama_cpp_python"] = metadata.version("llama_cpp_python")
        data = {**data, "about": about}
    base.write(name, data)


def main():
    strings = base.make_strings()
    corpus = [s for i, s in enumerate(strings) if i % 3 == 0 and s.strip() and "\0" not in s]
    for name, m in make_models(corpus):
        with open(os.path.join(OUT, name + ".model.gz"), "wb") as f:
            f.write(gzip.compress(m.SerializeToString(), 9, mtime=0))
        write(name + ".spm.json.gz", spm_golden(m, strings, False))
        write(name + "-legacy.spm.json.gz", spm_golden(m, strings, True))
        if name != "sp-nfkc":
            write(name + ".llamacpp.json.gz", llamacpp_golden(m, strings, m.normalizer_spec.add_dummy_prefix))
        if name == "sp-llama":
            equal = pb.ModelProto()
            equal.CopyFrom(m)
            for p in equal.pieces:
                p.score = math.trunc(p.score / 8)
            write("sp-equal.llamacpp.json.gz", llamacpp_golden(equal, strings, True))
            for form, t in variants(m, strings):
                j = t["json"] if isinstance(t, dict) else json.loads(t.to_str())
                t = t["tokenizer"] if isinstance(t, dict) else t
                write(form + ".json.gz", j)
                write(form + ".golden.json.gz", rust_golden(t, strings))


main()
