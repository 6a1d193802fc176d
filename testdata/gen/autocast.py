"""What bfloat16 costs in PyTorch: testdata/autocast/, a tiny Llama under torch.autocast.

	python testdata/gen/autocast.py

	model/              the model, F32, with products larger than those that stay F32
	golden.safetensors  a row of tokens; the logits
	train/              LoRA on all linear layers: case.json, data.jsonl and init/ as
	                    train.py has them
	final.safetensors   the adapter after the last step

Three times each: in F64 (64), in F32 (32), and under torch.autocast("cpu",
torch.bfloat16) (bf16).
"""

import golden  # first: it mends sys.path

import json
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

import llama
import llama64
import train
import trainer

SEED = 20260701
OUT = golden.ROOT / "autocast"
P = train.DEFAULT | dict(batch=2, steps=8, lr=2e-3)


def autocast(model):
    """model, all of whose calls are under autocast, as Trainer's bf16 does it."""
    forward = model.forward

    def cast(*a, **kw):
        with torch.autocast("cpu", torch.bfloat16):
            out = forward(*a, **kw)
        out.logits = out.logits.float()
        return out

    model.forward = cast
    return model


def steps(model, rows):
    """trainer.run64 in the model's own arithmetic and with PyTorch's own AdamW."""
    params = [q for q in model.parameters() if q.requires_grad]
    opt = torch.optim.AdamW(params, lr=P["lr"], weight_decay=0.0)
    losses = []
    for batches in trainer.steps_of(rows, P):
        (b,) = map(trainer.collate, batches)
        z = model(input_ids=b["input_ids"], attention_mask=b["attention_mask"], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(z[:, :-1].flatten(0, 1), b["labels"][:, 1:].flatten(), ignore_index=-100)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, P["clip"])
        opt.step()
        losses.append(float(loss.detach()))
    return losses


def main():
    golden.setup(SEED)
    shutil.rmtree(OUT, ignore_errors=True)
    base = llama.tiny(SEED, vocab_size=96, hidden_size=72, intermediate_size=80, num_hidden_layers=2,
                      num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True)
    base.config._name_or_path = base.name_or_path = "testdata/autocast/model"
    base.save_pretrained(OUT / "model")
    start = lambda: llama.load(OUT / "model")

    tokens = llama.tokens_for(base, 1, 32, SEED + 1)
    with torch.no_grad():
        half = autocast(start())(input_ids=tokens, use_cache=False).logits
    provenance = golden.provenance(SEED, "transformers", "peft")
    golden.write(OUT / "golden.safetensors", {
        "tokens": golden.i32(tokens), "logits64": llama64.logits(start(), tokens), "logits32": llama.logits32(start(), tokens), "logits.bf16": half,
    }, provenance)

    dir = OUT / "train"
    rows = train.lines(SEED + 2, 8, 32, 32, 96)
    dir.mkdir()
    (dir / "data.jsonl").write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))
    torch.manual_seed(SEED + 3)
    m = get_peft_model(start(), LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear"))
    g = torch.Generator().manual_seed(SEED + 4)
    for n, q in m.named_parameters():
        if "lora_B" in n:
            q.data.copy_(torch.randn(q.shape, generator=g) * 0.1)
    m.peft_config["default"].base_model_name_or_path = "testdata/autocast/model"
    m.save_pretrained(dir / "init", save_embedding_layers=False)
    (dir / "init" / "README.md").unlink()
    adapted = lambda: PeftModel.from_pretrained(start(), dir / "init", is_trainable=True)

    read = trainer.read(dir / "data.jsonl", P["seq"])
    curve, m64 = trainer.run64(adapted(), read, P)
    m32, mbf = adapted(), autocast(adapted())
    losses = {"64": [c["loss"] for c in curve], "32": steps(m32, read), "bf16": steps(mbf, read)}
    finals = {k: train.final(m, "lora") for k, m in (("64", m64), ("32", m32), ("bf16", mbf))}
    golden.write(OUT / "final.safetensors", {f"{k}.{n}": t for k, f in finals.items() if k != "32" for n, t in f.items()}, provenance)
    golden.write_json(dir / "case.json", provenance | dict(
        method="lora", base="autocast/model", parameters=P, lora=dict(rank=8, alpha=16, targets="all-linear"),
        losses=losses,
    ))
    off = lambda k: max(abs(a - b) for a, b in zip(losses[k], losses["64"]))
    worst = lambda k: max(float((finals[k][n] - t).abs().max()) for n, t in finals["64"].items())
    print("losses", losses["64"][0], losses["64"][-1], "off", off("32"), off("bf16"), "tensors", worst("32"), worst("bf16"))
    assert off("32") < off("bf16") / 20
    print(sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
