"""Goldens of quantised checkpoints by transformers and bitsandbytes on the CPU: testdata/bnb/VARIANT/ and testdata/bnb/qlora/.

	python testdata/gen/bnb.py

Each VARIANT is a tiny Llama as transformers quantises and saves it, with golden.safetensors beside it:

	tokens   I32 [B,T]
	logits   F32 [B,T,V]   transformers and bitsandbytes, computed in F32; of int8, with the decoded weights
	W:NAME   F32 [N,K]     a decoded weight

qlora is a case as in testdata/train, trained by PEFT on the base nf4-double. Rows are whole blocks: bitsandbytes' AVX-512
kernel decodes others wrongly. Its kernel for AVX512-BF16, which rounds weights to BF16, is switched off.
"""

import golden  # first: it mends sys.path

import json
import os
import shutil

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BitsAndBytesConfig, LlamaForCausalLM

import llama
import train
import trainer

SEED = 20260110
OUT = golden.ROOT / "bnb"
bnb.nn.modules.has_avx512bf16 = lambda: False
golden._NAMES |= {torch.uint8: "U8", torch.int8: "I8"}


def load(path, **kw):
    return LlamaForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager", device_map="cpu", **kw)


def decoded(module):
    w = module.weight
    if isinstance(module, bnb.nn.Linear8bitLt):
        return F.int8_vectorwise_dequant(w.data, w.SCB)
    return F.dequantize_4bit(w.data, w.quant_state)


def variant(name, **kw):
    dir = OUT / name
    m = load(OUT / "f32", quantization_config=BitsAndBytesConfig(bnb_4bit_compute_dtype=torch.float32, **kw)).eval()
    m.save_pretrained(dir)
    m = load(dir).eval()  # as anybody loads it
    plain = load(OUT / "f32").eval()
    tensors = {}
    for path, module in m.named_modules():
        if isinstance(module, (bnb.nn.Linear4bit, bnb.nn.Linear8bitLt)):
            w = decoded(module)
            plain.get_submodule(path).weight.data.copy_(w)
            if path.endswith(("0.self_attn.k_proj", "1.mlp.down_proj")):
                tensors["W:" + path + ".weight"] = w
    tokens = llama.tokens_for(plain, 2, 24, SEED)
    logits = llama.logits32(plain, tokens)
    if "load_in_8bit" not in kw:
        theirs = llama.logits32(m, tokens)
        assert (theirs - logits).abs().max() < 1e-5, float((theirs - logits).abs().max())
        logits = theirs
    golden.write(dir / "golden.safetensors", tensors | dict(tokens=golden.i32(tokens), logits=logits), golden.provenance(SEED, "transformers", "bitsandbytes"))
    print(f"{name}: {sum(p.stat().st_size for p in dir.iterdir())} bytes")


def qlora():
    """train.case on a quantised base."""
    dir = OUT / "qlora"
    dir.mkdir()
    p = train.DEFAULT | dict(batch=2, steps=20)
    rows = train.lines(SEED + 1, 10, 5, 24, 96)
    (dir / "data.jsonl").write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))

    def base():
        m = load(OUT / "nf4-double")
        m.config._name_or_path = m.name_or_path = "testdata/bnb/nf4-double"
        m.config.use_cache = False
        return m

    lora = dict(rank=4, alpha=8, targets="all-linear", rslora=False)
    torch.manual_seed(SEED + 2)
    m = get_peft_model(base(), LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear"))
    g = torch.Generator().manual_seed(SEED + 3)
    for n, q in m.named_parameters():
        if "lora_B" in n:
            q.data.copy_(torch.randn(q.shape, generator=g) * 0.1)
    m.peft_config["default"].base_model_name_or_path = "testdata/bnb/nf4-double"
    m.save_pretrained(dir / "init", save_embedding_layers=False)
    (dir / "init" / "README.md").unlink()
    model = PeftModel.from_pretrained(base(), dir / "init", is_trainable=True)
    curve = trainer.run(model, trainer.read(dir / "data.jsonl", p["seq"]), p)
    golden.write(dir / "final.safetensors", train.final(model, "lora"), golden.provenance(SEED, "transformers", "peft", "bitsandbytes"))
    golden.write_json(dir / "case.json", golden.provenance(SEED, "transformers", "peft", "accelerate", "bitsandbytes") | dict(
        method="lora", base="bnb/nf4-double", note="a 4-bit base", parameters=p, lora=lora, curve=curve, noise=None))
    print(f"qlora: loss {curve[0]['loss']:.4f} to {curve[-1]['loss']:.4f}")


def main():
    golden.setup(SEED)
    shutil.rmtree(OUT, ignore_errors=True)
    m = llama.tiny(SEED, hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
    m.save_pretrained(OUT / "f32")
    four = dict(load_in_4bit=True)
    variant("nf4", bnb_4bit_quant_type="nf4", **four)
    variant("nf4-double", bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, **four)
    variant("fp4", bnb_4bit_quant_type="fp4", **four)
    variant("storage-bf16", bnb_4bit_quant_type="nf4", bnb_4bit_quant_storage=torch.bfloat16, **four)
    variant("int8", load_in_8bit=True)
    qlora()


if __name__ == "__main__":
    main()
