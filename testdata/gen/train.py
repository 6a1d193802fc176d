"""Training curves of transformers' Trainer and PEFT on the tiny Llamas: testdata/train/CASE/.

	python testdata/gen/train.py

	case.json           every parameter, and the curve
	data.jsonl          the data, used in order
	init/               the adapter that training starts from (method lora)
	final.safetensors   F32: the adapter's tensors under their names in an
	                    adapter file, or every tensor of the checkpoint (method full)

case.json's "noise" says how far the reference is from itself with another
attention kernel (sdpa), and from the same training in F64.
"""

import golden  # first: it mends sys.path

import json
import random
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from transformers import LlamaForCausalLM

import trainer

SEED = 20260104
OUT = golden.ROOT / "train"
DEFAULT = dict(batch=1, accumulate=1, seq=512, lr=5e-3, schedule="constant", warmup=0, weight_decay=0.0, clip=1.0, recompute=False)


def base(name, attention):
    m = LlamaForCausalLM.from_pretrained(golden.ROOT / "llama" / name, dtype=torch.float32, attn_implementation=attention)
    m.config._name_or_path = m.name_or_path = f"testdata/llama/{name}"
    m.config.use_cache = False
    return m


def lines(seed, n, low, high, vocab, masked=False, bare=False):
    """n lines of low..high ids. Each sequence follows a rule, so that it can be learnt."""
    r = random.Random(seed)
    out = []
    for i in range(n):
        t = r.randint(low, high)
        a, b = r.randint(3, vocab - 1), r.choice([1, 2, 5])
        ids = [3 + (a + b * j + (r.randint(0, 3) == 0)) % (vocab - 3) for j in range(t)]
        d = dict(input_ids=ids)
        if masked:
            cut = r.randint(1, t - 2)
            d["labels"] = [-100] * cut + ids[cut:]
            if t > 6 and i % 3 == 0:
                d["labels"][-2] = -100  # a hole
        elif not (bare and i % 2):
            d["labels"] = list(ids)
        out.append(d)
    return out


def final(model, method):
    if method == "lora":
        return {k: v.float().contiguous() for k, v in get_peft_model_state_dict(model, save_embedding_layers=False).items()}
    sd = model.state_dict()
    return {k: v.float() for k, v in sd.items() if not (k == "lm_head.weight" and model.config.tie_word_embeddings)}


def case(name, base_name="mha", method="lora", data=None, b=0.0, rank=4, alpha=8, targets=("q_proj", "v_proj"), rslora=False, same_as=None, note="", **over):
    dir = OUT / name
    dir.mkdir(parents=True)
    p = DEFAULT | over
    if "epochs" not in p:
        p.setdefault("steps", 20)
    vocab = base(base_name, "eager").config.vocab_size
    rows = lines(SEED + 1, *(data or (8, 14, 14)), vocab) if not isinstance(data, dict) else lines(SEED + 1, vocab=vocab, **data)
    (dir / "data.jsonl").write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))
    if method == "lora":
        torch.manual_seed(SEED + 2)
        m = get_peft_model(base(base_name, "eager"), LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, use_rslora=rslora,
            target_modules=targets if isinstance(targets, str) else list(targets)))
        if b:
            g = torch.Generator().manual_seed(SEED + 3)
            for n, q in m.named_parameters():
                if "lora_B" in n:
                    q.data.copy_(torch.randn(q.shape, generator=g) * b)
        m.peft_config["default"].base_model_name_or_path = f"testdata/llama/{base_name}"
        m.save_pretrained(dir / "init", save_embedding_layers=False)
        (dir / "init" / "README.md").unlink()

    def start(attention):
        m = base(base_name, attention)
        return PeftModel.from_pretrained(m, dir / "init", is_trainable=True) if method == "lora" else m

    read = trainer.read(dir / "data.jsonl", p["seq"])
    model, other = start("eager"), start("sdpa")
    before = trainer.trainable(model)
    curve64, model64 = trainer.run64(model, read, p)
    curve = trainer.run(model, read, p)
    other_curve = trainer.run(other, read, p)
    result = curve, trainer.trainable(model)
    for x, y in zip(curve, curve64, strict=True):
        assert abs(x["lr"] - y["lr"]) < 1e-12, (name, x, y)
    noise = {"sdpa": trainer.compare((other_curve, trainer.trainable(other)), result),
             "f64": trainer.compare(result, (curve64, trainer.trainable(model64)))}
    assert noise["f64"]["loss_max_rel"] < 2e-5 and noise["f64"]["grad_norm_max_rel"] < 2e-3, (name, noise)
    if p["lr"] and p["weight_decay"] == 0 or method == "full":
        assert all(not torch.equal(before[n], t) for n, t in result[1].items()), name
    if same_as:
        want = json.loads((OUT / same_as / "case.json").read_text())["curve"]
        assert all(abs(x["loss"] / y["loss"] - 1) < 1e-6 for x, y in zip(curve, want, strict=True)), name
    out = final(model, method)
    golden.write(dir / "final.safetensors", out, golden.provenance(SEED, "transformers", "peft"))
    golden.write_json(dir / "case.json", golden.provenance(SEED, "transformers", "peft", "accelerate") | dict(
        method=method, base=f"llama/{base_name}", note=note,
        parameters=p, lora=dict(rank=rank, alpha=alpha, targets=targets, rslora=rslora) if method == "lora" else None,
        curve=curve, noise=noise,
    ))
    print(f"{name}: {len(curve)} steps, loss {curve[0]['loss']:.4f} to {curve[-1]['loss']:.4f}; "
          + "; ".join(f"{k} loss {v['loss_max_rel']:.1g} tensors {v['tensor_median_rel']:.1g} {v['tensor_worst_rel']:.1g}" for k, v in noise.items()))


def evaluation():
    """Loss per token of a held-out file, with and without an adapter, in F64."""
    rows = lines(SEED + 9, 11, 5, 24, 96, masked=True)
    f = OUT / "eval.jsonl"
    f.write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))
    cases = []
    for adapter in (None, "nonzero"):
        m = base("mha", "eager")
        if adapter:
            m = PeftModel.from_pretrained(m, OUT / adapter / "init")
        p = DEFAULT | dict(steps=1, batch=len(rows), lr=0.0)
        for n, q in m.named_parameters():
            q.requires_grad_(n.endswith("layers.0.self_attn.v_proj.weight") or "lora_" in n)
        curve, _ = trainer.run64(m, trainer.read(f), p)
        batch = trainer.collate(trainer.read(f))
        cases.append(dict(base="llama/mha", adapter=f"train/{adapter}/init" if adapter else None, loss=curve[0]["loss"],
                          tokens=int((batch["labels"][:, 1:] != -100).sum())))
    golden.write_json(OUT / "eval.json", golden.provenance(SEED, "transformers", "peft") | dict(data="eval.jsonl", cases=cases))


UNEQUAL = (10, 5, 24)  # lines, shortest, longest


def main():
    golden.setup(SEED)
    shutil.rmtree(OUT, ignore_errors=True)
    case("plain")
    case("nonzero", b=0.1, note="B does not start at zero")
    case("padded", b=0.1, batch=3, data=dict(n=10, low=5, high=24, bare=True), note="unequal lengths; an epoch's last batch is one line; half of the lines have no labels")
    case("accumulate", b=0.1, batch=2, accumulate=4, data=(18, 5, 24), note="9 batches an epoch: its last accumulation is one batch")
    case("rslora", b=0.1, rslora=True)
    case("all-linear", "gqa-tied", b=0.1, targets="all-linear", batch=2, data=UNEQUAL)
    case("recompute", "gqa-tied", b=0.1, targets="all-linear", batch=2, data=UNEQUAL, recompute=True, same_as="all-linear", note="gradient checkpointing: the curve of all-linear")
    case("all-linear-bias", "bias", b=0.1, targets="all-linear", batch=2, data=UNEQUAL)
    case("head", b=0.1, targets=("q_proj", "lm_head"), batch=2, data=UNEQUAL, note="an adapted untied head")
    case("weight-decay", b=0.1, weight_decay=0.1)
    case("clip-bites", b=0.1, clip=0.05)
    case("clip-off", b=0.1, clip=0.0)
    for schedule in ("constant", "linear", "cosine"):
        if schedule != "constant":
            case(schedule, b=0.1, schedule=schedule)
        case(schedule + "-warmup", b=0.1, schedule=schedule, warmup=3, note="the first step's rate is 0")
    case("masked", b=0.1, batch=2, data=dict(n=10, low=6, high=24, masked=True), note="labels with -100 at the start and inside")
    case("epochs", b=0.1, batch=4, epochs=3, data=UNEQUAL, schedule="linear", warmup=2, note="3 batches an epoch, the last one short")
    case("seq", b=0.1, batch=2, seq=12, data=UNEQUAL, note="longer lines are cut")
    case("full", "bias", method="full", batch=2, data=UNEQUAL, lr=1e-3, weight_decay=0.1, note="no decay on norms and biases")
    case("full-tied", "gqa-tied", method="full", batch=2, accumulate=2, data=UNEQUAL, lr=1e-3, weight_decay=0.1, schedule="cosine", warmup=3)
    case("full-untied", "mha", method="full", batch=2, data=UNEQUAL, lr=1e-3)
    evaluation()
    print(sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
