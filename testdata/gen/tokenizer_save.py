"""Checks the tokenizers that format/tokenizer saves against the reference libraries.

    TENON_SAVE_DIR=/tmp/saved go test -run TestSave ./format/tokenizer
    python testdata/gen/tokenizer_save.py /tmp/saved

Each folder must load in the Rust tokenizers library and through transformers'
AutoTokenizer (beside a config.json of the architectures that GGUF files of that
kind have), and give the ids and the text that Go gave for every string. It exits
with 1 if there is a difference.
"""
import json
import os
import sys

import tokenizers
import transformers

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tokenizer import make_strings

strings = make_strings()
bad = 0
for name in sorted(os.listdir(sys.argv[1])):
    d = os.path.join(sys.argv[1], name)
    want = json.load(open(os.path.join(d, "ids.json")))
    assert len(want) == len(strings) >= 5000
    rust = tokenizers.Tokenizer.from_file(os.path.join(d, "tokenizer.json"))
    n = {"rust ids": sum(rust.encode(s).ids != w["IDs"] for s, w in zip(strings, want)), "rust text": 0}
    if name != "json-metaspace-never":  # its decoder panics in the library
        n["rust text"] = sum(rust.decode(w["IDs"]) != w["Decoded"] for w in want)
    # For model_type qwen2 transformers takes Qwen2's own normaliser and pattern, whatever the file says.
    for family in ("llama", "mistral", "qwen3") + ("qwen2",) * name.endswith("-qwen2"):
        json.dump({"model_type": family, "architectures": [{"qwen2": "Qwen2", "qwen3": "Qwen3"}.get(family, family.capitalize()) + "ForCausalLM"]}, open(os.path.join(d, "config.json"), "w"))
        auto = transformers.AutoTokenizer.from_pretrained(d)
        n[family] = sum(auto(s).input_ids != w["IDs"] for s, w in zip(strings, want))
        text = auto.apply_chat_template([{"role": "user"}], tokenize=False)
        n[family] += text != "<user>\n"
    os.remove(os.path.join(d, "config.json"))
    print(name, len(strings), "strings, differences:", n)
    bad += sum(n.values())
sys.exit(bad > 0)
