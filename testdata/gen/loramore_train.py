"""Training curves of Trainer and PEFT for the rest of LoRA's keys and the families: testdata/trainmore/CASE/.

	python testdata/gen/loramore_train.py

Laid out as testdata/train/CASE (train.py). case.json's "lora" is the whole of what
was given to LoraConfig; final.safetensors holds what was trained under its names
in an adapter file, base_layer.weight of embeddings and heads left out.
Packed runs (pack-*) are in packing.py.
"""

import golden  # first: it mends sys.path

import copy
import json
import math
import os
import re
import shutil
import warnings

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from transformers import AutoModelForCausalLM

import families64
import train
import trainer

SEED = 20260603
OUT = golden.ROOT / "trainmore"
os.chdir(golden.ROOT.parent)  # base_model_name_or_path is relative to it

# Trainer decays no parameter whose name has one of these.
NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def base(name, attention):
    m = AutoModelForCausalLM.from_pretrained(golden.ROOT / name, dtype=torch.float32, attn_implementation=attention)
    m.config._name_or_path = m.name_or_path = f"testdata/{name}"
    m.config.use_cache = False
    return m


def run64(model, steps, p):
    """Trainer by definition and in F64; steps is a list of lists of batches, each of rows. Returns (curve, trained model)."""
    m = copy.deepcopy(model).double()
    params = {n: q for n, q in m.named_parameters() if q.requires_grad}
    state = {n: (torch.zeros_like(q), torch.zeros_like(q)) for n, q in params.items()}
    curve = []
    with families64.patched():
        for i, batches in enumerate(steps):
            batches = [trainer.collate(b) for b in batches]
            count = sum(int((b["labels"][:, 1:] != -100).sum()) for b in batches)
            total, grads = 0.0, {n: torch.zeros_like(q) for n, q in params.items()}
            for b in batches:
                z = m(input_ids=b["input_ids"], attention_mask=b["attention_mask"], use_cache=False).logits
                loss = F.cross_entropy(z[:, :-1].flatten(0, 1), b["labels"][:, 1:].flatten(), ignore_index=-100, reduction="sum") / count
                total += float(loss.detach())
                for n, g in zip(params, torch.autograd.grad(loss, list(params.values()))):
                    grads[n] += g
            norm = math.sqrt(sum(float((g * g).sum()) for g in grads.values()))
            scale = min(1.0, p["clip"] / (norm + 1e-6)) if p["clip"] > 0 else 1.0
            lr = trainer.rate(i, len(steps), p)
            with torch.no_grad():
                for n, q in params.items():
                    g, (mo, v) = grads[n] * scale, state[n]
                    if not NO_DECAY.search(n):
                        q.mul_(1 - lr * p["weight_decay"])
                    mo.mul_(0.9).add_(g, alpha=0.1)
                    v.mul_(0.999).addcmul_(g, g, value=0.001)
                    q.sub_(lr * (mo / (1 - 0.9 ** (i + 1))) / ((v / (1 - 0.999 ** (i + 1))).sqrt() + 1e-8))
            curve.append(dict(loss=total, lr=lr, grad_norm=norm))
    return curve, m


def final(model, method):
    if method == "lora":
        return {k: v.float().contiguous() for k, v in get_peft_model_state_dict(model, save_embedding_layers=False).items()}
    return {k: v.float() for k, v in model.state_dict().items() if not (k == "lm_head.weight" and model.config.tie_word_embeddings)}


def initial(dir, base_name, b, cfg):
    """The adapter to start from, B and what is saved whole moved off their beginnings."""
    torch.manual_seed(SEED + 2)
    m = get_peft_model(base(base_name, "eager"), LoraConfig(task_type="CAUSAL_LM", **cfg))
    g = torch.Generator().manual_seed(SEED + 3)
    with torch.no_grad():
        for n, q in m.named_parameters():
            if q.requires_grad and b:
                r = torch.randn(q.shape, generator=g)
                if "lora_embedding_A" in n:  # PEFT begins with zeros here
                    q.copy_(0.3 * r)
                elif "lora_B" in n or "lora_embedding_B" in n:
                    q.copy_(b * r)
                elif "lora_" not in n:
                    q.add_(0.1 * b * r)
    m.peft_config["default"].base_model_name_or_path = f"testdata/{base_name}"
    m.save_pretrained(dir / "init")
    (dir / "init" / "README.md").unlink()


def start(dir, base_name, method, attention):
    m = base(base_name, attention)
    return PeftModel.from_pretrained(m, dir / "init", is_trainable=True) if method == "lora" else m


def prepare(name, base_name, rows, method, b, cfg):
    dir = OUT / name
    dir.mkdir(parents=True)
    (dir / "data.jsonl").write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))
    if method == "lora":
        initial(dir, base_name, b, cfg)
    return dir


def finish(dir, base_name, method, p, cfg, note, models, before, curves, extra=None):
    model, other, model64 = models
    curve, other_curve, curve64 = curves
    name = dir.name
    result = curve, trainer.trainable(model)
    for x, y in zip(curve, curve64, strict=True):
        assert abs(x["lr"] - y["lr"]) < 1e-12, (name, x, y)
    noise = {"sdpa": trainer.compare((other_curve, trainer.trainable(other)), result),
             "f64": trainer.compare(result, (curve64, trainer.trainable(model64)))}
    assert noise["f64"]["loss_max_rel"] < 2e-5 and noise["f64"]["grad_norm_max_rel"] < 2e-3, (name, noise)
    assert noise["f64"]["tensor_worst_rel"] < 1e-3, (name, noise)
    assert all(not torch.equal(before[n], t) for n, t in result[1].items()), name
    out = final(model, method)
    assert len(out) == len(before), (name, sorted(out), sorted(before))
    golden.write(dir / "final.safetensors", out, golden.provenance(SEED, "transformers", "peft"))
    golden.write_json(dir / "case.json", golden.provenance(SEED, "transformers", "peft", "accelerate") | dict(
        method=method, base=base_name, note=note, parameters=p, lora=cfg if method == "lora" else None,
        curve=curve, noise=noise) | (extra or {}))
    print(f"{name}: {len(curve)} steps, {len(out)} tensors, loss {curve[0]['loss']:.4f} to {curve[-1]['loss']:.4f}; "
          + "; ".join(f"{k} loss {v['loss_max_rel']:.1g} tensors {v['tensor_median_rel']:.1g} {v['tensor_worst_rel']:.1g}" for k, v in noise.items()))


def case(name, base_name, note="", method="lora", b=0.1, data=train.UNEQUAL, same_as=None, lora=None, **over):
    p = train.DEFAULT | dict(batch=2) | over
    p.setdefault("steps", 20)
    vocab = base(base_name, "eager").config.vocab_size
    rows = train.lines(SEED + 1, *data, vocab)
    dir = prepare(name, base_name, rows, method, b, lora)
    read = trainer.read(dir / "data.jsonl", p["seq"])
    model, other = (start(dir, base_name, method, a) for a in ("eager", "sdpa"))
    before = trainer.trainable(model)
    curve64, model64 = run64(model, trainer.steps_of(read, p), p)
    curve, other_curve = trainer.run(model, read, p), trainer.run(other, read, p)
    if same_as:
        want = json.loads((OUT / same_as / "case.json").read_text())["curve"]
        assert all(abs(x["loss"] / y["loss"] - 1) < 1e-6 for x, y in zip(curve, want, strict=True)), name
    finish(dir, base_name, method, p, lora, note, (model, other, model64), before, (curve, other_curve, curve64))


MHA, TIED, BIAS = "llama/mha", "llama/gqa-tied", "llama/bias"


def lora(*targets, **kw):
    return dict(r=4, lora_alpha=8, target_modules=targets[0] if targets == ("all-linear",) else list(targets)) | kw


def main():
    golden.setup(SEED)
    warnings.simplefilter("ignore")
    for d in OUT.glob("*"):
        if not d.name.startswith("pack"):
            shutil.rmtree(d)
    qv = ("q_proj", "v_proj")
    case("save-head", MHA, "the untied head is trained whole", lora=lora(*qv, modules_to_save=["lm_head"]))
    case("save-head-tied", TIED, "the tied head is trained whole: it is untied, the embedding stays", lora=lora(*qv, modules_to_save=["lm_head"]))
    case("save-embed-tied", TIED, "the tied embedding is trained whole: it is untied, the head stays", lora=lora(*qv, modules_to_save=["embed_tokens"]))
    case("save-norm-decay", MHA, "norms that are trained whole do not decay, the rest does", lr=1e-2, weight_decay=0.3,
         lora=lora(*qv, modules_to_save=["input_layernorm", "model.norm", "lm_head"]))
    case("bias-all", BIAS, "biases do not decay", lr=1e-2, weight_decay=0.3, lora=lora("q_proj", "v_proj", "down_proj", bias="all"))
    case("bias-lora-only", BIAS, lora=lora("q_proj", "v_proj", "down_proj", bias="lora_only"))
    case("lora-bias", BIAS, "B's bias does not decay", lr=1e-2, weight_decay=0.3, lora=lora("q_proj", "down_proj", lora_bias=True))
    case("patterns", TIED, lora=lora("all-linear", rank_pattern={"q_proj": 2, "layers.1.self_attn.v_proj": 6, r"layers\.[02]\.mlp\.(up|gate)_proj": 3},
                                     alpha_pattern={"o_proj": 12, r".*\.2\.mlp\.down_proj": 5.5}))
    case("embed", MHA, "the embedding as target", lora=lora("embed_tokens", "q_proj"))
    case("embed-tied", TIED, "the tied embedding as target; the head stays", lora=lora("embed_tokens", "q_proj"))
    case("embed-and-head", MHA, lora=lora("embed_tokens", "lm_head", "q_proj"))
    case("head-tied", TIED, "the tied head as target; the embedding stays", lora=lora("lm_head", "q_proj"))
    ids = [10, 20, 30, 40, 11, 12]
    case("tokens", MHA, "rows of the embedding", lora=lora(*qv, trainable_token_indices=ids))
    case("tokens-tied", TIED, "rows of the embedding and of its tied head, the same", lora=lora(*qv, trainable_token_indices=ids))
    case("tokens-dict", MHA, "rows of both, each its own", lora=lora(*qv, trainable_token_indices={"embed_tokens": ids, "lm_head": [15, 16, 17]}))
    case("layer-replication", TIED, "layers 0 1 1 2 of the base", lora=lora("q_proj", "down_proj", layer_replication=[[0, 2], [1, 3]]))
    for b in ("qwen2", "qwen2-window", "qwen3", "qwen3-tied", "mistral-window"):
        case(f"all-linear-{b}", f"families/{b}", lora=lora("all-linear"))
    case("recompute-mistral-window", "families/mistral-window", "gradient checkpointing: the curve of all-linear-mistral-window", recompute=True,
         same_as="all-linear-mistral-window", lora=lora("all-linear"))
    case("full-qwen3", "families/qwen3", "no decay on norms, q_norm and k_norm among them", method="full", lr=3e-3, weight_decay=0.3)
    case("full-qwen3-tied", "families/qwen3-tied", method="full", lr=1e-3, weight_decay=0.1, schedule="cosine", warmup=3, accumulate=2)
    case("full-qwen2", "families/qwen2", "no decay on norms and biases", method="full", lr=3e-3, weight_decay=0.3)
    print(sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
