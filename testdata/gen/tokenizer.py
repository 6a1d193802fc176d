"""Goldens of format/tokenizer, made by the Rust tokenizers library.

    python testdata/gen/tokenizer.py [SmolLM2.gguf]

writes to testdata/tokenizer:

  strings.json.gz       the strings that every tokenizer encodes, and the seed
  NAME.json.gz          a small tokenizer trained here (tokenizer.json)
  NAME.golden.json.gz   what the library makes of the strings with it
  smollm2.golden.json.gz  the same with the tokens and merges of a GGUF file and
                        the pre-tokenizer that its tokenizer.ggml.pre names

A golden has `encode`: one varint-coded list of ids a string (base64), special
tokens added; `codepoints`: the SHA-256 of the ids of texts that have every assigned
code point, 4096 to a text; `decode`: random ids and their text, with and without
special tokens. Nothing here depends on the time or on the order of a set.
"""
import base64
import gzip
import hashlib
import json
import os
import random
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SEED = 20261124
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "tokenizer")

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<s>", "</s>", "<mask>"]


# ---------------------------------------------------------------- the strings

SYLLABLES = "ba ce di fo gu ra ten ler mi no pa qui rest sta tion tur un ver wi xe yo zu ing ed able str ough th sh".split()
WHITE = [" ", " ", " ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\u2003", "\u1680", "\u202f"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "1️⃣", "❤️", "👨🏿‍🚒", "🧑‍💻", "⌚", "🫠", "☎︎", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
# First and last code point of blocks from many scripts.
BLOCKS = [(0x00C0, 0x24F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7BF),
          (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xA7F), (0xB80, 0xBFF), (0xC00, 0xC7F), (0xD00, 0xD7F), (0xE00, 0xE7F), (0xE80, 0xEFF),
          (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1400, 0x167F),
          (0x1780, 0x17FF), (0x1800, 0x18AF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x209F), (0x20A0, 0x20CF),
          (0x2100, 0x218F), (0x2190, 0x23FF), (0x2460, 0x24FF), (0x2500, 0x25FF), (0x2600, 0x27BF), (0x2C00, 0x2DFF), (0x2E80, 0x2FDF),
          (0x3000, 0x303F), (0x3040, 0x30FF), (0x3130, 0x318F), (0x3200, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF),
          (0xA960, 0xA97F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE6F), (0xFE70, 0xFEFF), (0xFF00, 0xFFEF),
          (0x10000, 0x100FF), (0x10330, 0x1034F), (0x10400, 0x1044F), (0x10D00, 0x10D8F), (0x11000, 0x1107F), (0x11900, 0x1195F),
          (0x11380, 0x113FF), (0x12000, 0x123FF), (0x16100, 0x1613F), (0x16D40, 0x16D7F), (0x1D400, 0x1D7FF), (0x1E900, 0x1E95F),
          (0x1F300, 0x1F6FF), (0x20000, 0x2A6DF), (0x2EBF0, 0x2EE5F), (0xE0000, 0xE007F)]
CODE = [
    "def {a}({b}, {c}=None):\n    \"\"\"{w}.\"\"\"\n    return [{b}[i] ** 2 for i in range(len({b})) if {c} is not None]\n",
    "func ({a} *{C}) {D}({b} []float32) (int, error) {{\n\tif len({b}) == 0 {{\n\t\treturn 0, fmt.Errorf(\"{w}: %w\", err)\n\t}}\n\treturn len({b}), nil\n}}\n",
    "#include <{a}.h>\nint main(void) {{ for (int i = 0; i < {n}; ++i) {{ {b}[i] += {c}->{a}; }} return 0; }}\n",
    "{{\"{a}\": [{n}, {n}.5e-3, true, null], \"{b}\": {{\"{c}\": \"{w}\\n\"}}}}",
    "SELECT {a}, COUNT(*) FROM {b} WHERE {c} >= {n} AND name LIKE '%{w}%' GROUP BY 1;",
    "<div class=\"{a}-{b}\">\n        <a href='https://example.org/{c}?q={n}&x=%20'>{w}</a>\n</div>",
    "x = {n}; y = 0x{n:x}; z = {a}_{b}.{c}({n} << 3) | ~{b} && !{a};  // {w}",
    "$ {a} --{b}={c} -n {n} | grep -v '^#' > /tmp/{a}.log 2>&1",
]


def make_strings():
    r = random.Random(SEED)
    pick = r.choice

    def word():
        return "".join(pick(SYLLABLES) for _ in range(r.randint(1, 4)))

    def cased():
        w = word()
        return pick([w, w, w.capitalize(), w.upper(), w + pick(["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'Re", "'ſ", "'x", "’s", "'"])])

    def prose():
        return "".join(cased() + pick([" ", " ", " ", " ", ", ", ". ", "; ", " - ", "—", "... ", "! ", "?\n", ".\n\n", " (", ") ", " \"", "\" "]) for _ in range(r.randint(1, 12)))

    def code():
        return pick(CODE).format(a=word(), b=word(), c=word(), C=word().capitalize(), D=word().capitalize(), w=prose().replace("\n", " ")[:20], n=r.randint(0, 10 ** r.randint(1, 9)))

    def emoji():
        return "".join(pick(EMOJI + [word(), " ", "\u200d", "\ufe0f", "\U0001f3fd"]) for _ in range(r.randint(1, 9)))

    def combining():
        base = pick("aeiouAEIOUcnszyдийあ가अ")
        marks = [chr(r.choice([r.randint(0x300, 0x36F), r.randint(0x483, 0x487), r.randint(0x591, 0x5BD), r.randint(0x64B, 0x652), 0x93C, 0x94D, 0x3099, 0x309A, 0x1AB0, 0x1DC0, 0x20D0])) for _ in range(pick([1, 1, 2, 3, 5, 40]))]
        return word() + base + "".join(marks) + pick(["", " ", word()]) + "e\u0301\u0327\u0323" * r.randint(0, 2)

    def cjk():
        return "".join(pick([chr(r.randint(0x4E00, 0x9FFF)), chr(r.randint(0x3041, 0x3096)), chr(r.randint(0x30A1, 0x30FA)), "、", "。", "「", "」", "Ａ", "１", "ー", " ", "㍿", "ﾊﾞ"]) for _ in range(r.randint(1, 20)))

    def hangul():
        return "".join(pick([chr(r.randint(0xAC00, 0xD7A3)), chr(r.randint(0x1100, 0x1112)) + chr(r.randint(0x1161, 0x1175)) + pick(["", chr(r.randint(0x11A8, 0x11C2))]), chr(0xAC00 + 28 * r.randint(0, 398)) + chr(r.randint(0x11A7, 0x11C3)), chr(r.randint(0x3131, 0x318E)), " "]) for _ in range(r.randint(1, 14)))

    def spaces():
        return "".join(pick([pick(WHITE) * r.randint(1, 9), pick(WHITE), word(), pick(["!", ".", "/", "#"]), str(r.randint(0, 99))]) for _ in range(r.randint(1, 10)))

    def special():
        part = lambda: pick(SPECIALS)[: r.randint(1, 6)]
        return "".join(pick([pick(SPECIALS), pick(SPECIALS), word(), " ", "  ", "\n", part(), "[LEFT]", "[RIGHT]", "[WORD]", "[NORM]", "[Both]", "[both]", "[ALL]", "[WORD]s", "_[WORD]", "é[WORD]", "\u00a0", "  ", "ab", "abcd", "Ünï", "ünï", "u\u0308ni\u0308"]) for _ in range(r.randint(1, 9)))

    def digits():
        return "".join(pick([str(r.randint(0, 10 ** r.randint(1, 14))), ".", ",", " ", "-", "$", "%", "e+", "½", "²", "Ⅻ", "٣٤", "१२", "一", "〇", "𝟘𝟙", "①", "𐄐", "𑁒", "\U00011de1", "\U00016ff4", "x"]) for _ in range(r.randint(1, 10)))

    def rtl():
        return "".join(pick(["שלום", "عَرَبِيّ", "ﷺ", "\u200f", "\u202b", "\u202c", " ", "،", "؟", "לְ", "ا", word(), "۱۲"]) for _ in range(r.randint(1, 10)))

    def control():
        return "".join(pick([chr(r.randint(0, 31)), chr(r.randint(0x7F, 0x9F)), "\0", "\x1b[31m", "\ufeff", "\u200b", "\u2060", "\ufffd", "\ufffe", "\U0010ffff", word(), " "]) for _ in range(r.randint(1, 9)))

    def scripts():
        a, b = pick(BLOCKS)
        return "".join(pick([chr(r.randint(a, b)), chr(r.randint(a, b)), chr(r.randint(a, b)), " ", "'s"]) for _ in range(r.randint(1, 16)))

    def codepoints():
        out = []
        for _ in range(r.randint(1, 12)):
            c = r.randint(0, 10 ** r.randint(2, 6)) % 0x110000
            out.append(chr(c) if not 0xD800 <= c <= 0xDFFF else "?")
        return "".join(out)

    def mixed():
        return "".join(pick(kinds[:-1])()[:12] for _ in range(r.randint(2, 5)))

    kinds = [prose, code, emoji, combining, cjk, hangul, spaces, special, digits, rtl, control, scripts, codepoints, mixed]
    out = ["", " ", "\n", "a", "'", "''", "'s", " 's", "\0"] + SPECIALS
    out += ["a" * 3000, " " * 700 + "x", "ab" * 1500, "".join(pick("abcdefghijklmnop") for _ in range(4000)), "é" * 1000, "\n" * 301, "0123456789" * 60, "😀" * 300]
    while len(out) < 5600:
        out.append(kinds[len(out) % len(kinds)]())
    return out


# ------------------------------------------------------------- the tokenizers


def added(normalized_default):
    """Tokens with every combination of the flags that matter, and the specials."""
    def t(content, **flags):
        return AddedToken(content, **{"special": False, "normalized": normalized_default, "single_word": False, "lstrip": False, "rstrip": False, **flags})

    out = [t(s, special=True, normalized=False) for s in SPECIALS[:-1]]
    out += [
        t("<mask>", special=True, lstrip=True, normalized=False),
        t("[LEFT]", lstrip=True), t("[RIGHT]", rstrip=True), t("[WORD]", single_word=True), t("[NORM]", normalized=True),
        t("[Both]", lstrip=True, rstrip=True, normalized=True), t("[ALL]", single_word=True, lstrip=True, rstrip=True, special=True),
        t("  ", normalized=False), t("Ünï", normalized=True), t("abcd"), t("ab", single_word=True, normalized=False),
    ]
    return out


def train(strings, vocab, normalizer, pre, post, ignore_merges=False, legacy=False, decoder=True, add=None):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=["<|endoftext|>"], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    t.train_from_iterator(strings, trainer)
    if decoder:
        t.decoder = decoders.ByteLevel()
    for a in added(True) if add is None else add:
        t.add_tokens([a])
    if post:
        t.post_processor = post(t)
    return t


def tokenizers_to_test(strings):
    corpus = [s for i, s in enumerate(strings) if i % 3 == 0]
    byte_level = pre_tokenizers.ByteLevel

    def template(single):
        def make(t):
            names = [x for x in ("<|begin_of_text|>", "<|im_end|>", "<|endoftext|>") if x in single]
            return processors.TemplateProcessing(single=single, pair=None, special_tokens=[(x, t.token_to_id(x)) for x in names])
        return make

    yield "gpt2", train(corpus, 3000, None, byte_level(add_prefix_space=False), lambda t: processors.ByteLevel(trim_offsets=False))
    yield "prefix", train(corpus, 2500, normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), byte_level(add_prefix_space=True),
                          lambda t: processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>"))))
    split = lambda p, behavior="isolated", invert=False: pre_tokenizers.Split(Regex(p) if len(p) > 3 else p, behavior, invert)
    yield "llama3", train(corpus, 3000, None, pre_tokenizers.Sequence([split(LLAMA3), byte_level(add_prefix_space=False, use_regex=False)]),
                          lambda t: processors.Sequence([processors.ByteLevel(trim_offsets=False), template("<|begin_of_text|> $A")(t)]), ignore_merges=True)
    yield "smollm", train(corpus, 3000, None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(add_prefix_space=False)]), None)
    yield "qwen2", train(corpus, 3000, normalizers.NFC(), pre_tokenizers.Sequence([split(QWEN2), byte_level(add_prefix_space=False, use_regex=False)]),
                         template("$A <|im_end|> <|endoftext|>"))
    yield "behaviors", train(corpus, 2000, normalizers.Sequence([normalizers.Strip(left=True, right=False), normalizers.NFD(), normalizers.Replace("ra", "RA"), normalizers.Prepend("_")]),
                             pre_tokenizers.Sequence([split(" ", "merged_with_next"), split("a", "merged_with_previous"), split("o", "contiguous"),
                                                      split("e", "merged_with_next", True), split("i", "contiguous", True), split("u", "merged_with_previous", True),
                                                      split("-", "removed"), split(GPT2, "removed", True), pre_tokenizers.Digits(individual_digits=False), byte_level(add_prefix_space=False, use_regex=False)]), None)
    # No byte level and no decoder; unknown characters become one <unk> a run.
    t = Tokenizer(models.BPE(vocab={"<unk>": 0, **{c: i + 1 for i, c in enumerate("abcdefghilmnorstuvxyz é中👍")}, "th": 40, "er": 41, "ing": 43, "in": 42}, merges=[("t", "h"), ("e", "r"), ("i", "n"), ("in", "g")], unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.NFKD()
    t.add_special_tokens([AddedToken("<s>", normalized=False), AddedToken("</s>", normalized=False)])
    yield "unk", t


def from_gguf(path):
    """The tokens and merges of a GGUF file under the pre-tokenizer `smollm`."""
    import gguf

    fields = gguf.GGUFReader(path).fields
    get = lambda k: fields["tokenizer.ggml." + k].contents()
    assert get("model") == "gpt2" and get("pre") == "smollm"
    tokens, types = get("tokens"), get("token_type")
    t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in get("merges")]))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    for s, kind in zip(tokens, types):
        if kind in (3, 4):
            t.add_tokens([AddedToken(s, special=kind == 3, normalized=False)])
    return t


# ----------------------------------------------------------------- the goldens


def varints(ids):
    out = bytearray()
    for n in ids:
        while n >= 128:
            out.append(n & 127 | 128)
            n >>= 7
        out.append(n)
    return base64.b64encode(bytes(out)).decode()


def golden(t, strings):
    r = random.Random(SEED + 1)
    ids = [t.encode(s).ids for s in strings]
    for s, i in zip(strings, ids):
        plain = t.encode(s, add_special_tokens=False).ids
        assert any(i[k : k + len(plain)] == plain for k in (0, 1)), s
    hashes = []
    for at in [*range(0, 0x34000, 4096), 0xE0000]:  # the rest is private or not assigned
        text = "".join(f"{chr(c)}x {chr(c)}1 '{chr(c)}{chr(c)}\n" for c in range(at, at + 4096) if not 0xD800 <= c <= 0xDFFF)
        h = hashlib.sha256(b"".join(i.to_bytes(4, "little") for i in t.encode(text).ids))
        hashes.append([at, h.hexdigest()[:16]])
    decode = []
    known = sorted(t.get_vocab().values())
    short = [i for i in known if len(t.id_to_token(i)) == 1]
    for k in range(1500):
        some = [r.choice(short if r.random() < 0.5 else known) if r.random() < 0.98 else known[-1] + r.randint(1, 9) for _ in range(r.randint(0, 14))]
        decode.append([some, t.decode(some, skip_special_tokens=False), t.decode(some, skip_special_tokens=True)])
    texts = hashlib.sha256()
    for i in ids:
        for skip in (False, True):
            texts.update(t.decode(i, skip_special_tokens=skip).encode() + b"\xff")
    plain = t.encode("x", add_special_tokens=False).ids
    both = t.encode("x").ids
    at = both.index(plain[0]) if plain else 0
    return {"encode": [varints(i) for i in ids], "codepoints": hashes, "decode": decode, "decoded": texts.hexdigest(), "prefix": both[:at], "suffix": both[at + len(plain) :]}


def write(name, data):
    about = {"script": "testdata/gen/tokenizer.py", "tokenizers": tokenizers.__version__, "seed": SEED}
    if isinstance(data, dict) and "encode" in data:
        data = {"about": about} | data
    raw = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(gzip.compress(raw, 9, mtime=0))
    print(name, os.path.getsize(os.path.join(OUT, name)))


def main():
    os.makedirs(OUT, exist_ok=True)
    strings = make_strings()
    write("strings.json.gz", strings)
    for name, t in tokenizers_to_test(strings):
        write(name + ".json.gz", json.loads(t.to_str()))
        write(name + ".golden.json.gz", golden(t, strings))
    if len(sys.argv) > 1:
        write("smollm2.golden.json.gz", golden(from_gguf(sys.argv[1]), strings))


if __name__ == "__main__":
    main()
