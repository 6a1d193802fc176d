"""Goldens of the real SmolLM2-135M-Instruct: testdata/smollm2/.

	testdata/fetch-smollm2.sh
	python testdata/gen/smollm2.py [logits] [greedy] [train]

	logits.safetensors   one text of 256 tokens:
	    tokens    I32 [256]
	    rows      I32 [R]         positions whose whole row is stored
	    logits64  F32 [R,V]       those rows, computed in F64, rounded to F32
	    columns   I32 [C]         ids whose logit is stored at every position
	    columns64 F32 [256,C]     those columns, computed in F64, rounded to F32
	    lse64     F64 [256]       log(sum(exp(logits))) of every position, in F64
	    argmax    I32 [256]       the best id of every position
	  metadata: the text, and the largest |F32 - F64| of PyTorch over all
	  256 x 49152 logits, over the rows and over the columns
	greedy.json          ten chat prompts and their 64 greedy tokens
	train-CASE/          20 steps of Trainer and PEFT, laid out as testdata/train
	                     (init/ holds F16 tensors, which PEFT computes with in F32)
"""

import golden  # first: it mends sys.path

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file

import llama64
import smollm2_model
import trainer

SEED = 20260105
OUT = golden.ROOT / "smollm2"

TEXT = """A mortise and tenon joint connects two pieces of wood. The tenon, formed on the end of a member generally referred to as a rail, fits into a square or rectangular hole cut into the other, corresponding member. The joint has been used for thousands of years by woodworkers around the world to join pieces of wood, mainly when the adjoining pieces connect at right angles.

def fib(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a

In 1969, Apollo 11 landed on the Moon; about 650 million people watched it. "That's one small step for [a] man," said Neil Armstrong, "one giant leap for mankind." The distance to the Moon is 384,400 km, and light needs 1.28 seconds for it.

Le chat est assis sur la chaise. Die Katze sitzt auf dem Stuhl. El gato está sentado en la silla.
"""


def provenance():
    return golden.provenance(SEED, "transformers", "peft", "gguf") | {
        "model": golden.MODEL.name,
        "model_sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }


@torch.no_grad()
def logits():
    tok, m = smollm2_model.tokenizer(), smollm2_model.model()
    ids = tok(TEXT * 2)["input_ids"][:256]
    assert len(ids) == 256
    x = torch.tensor([ids])
    m64 = llama64.double(m)
    with llama64.patched():
        z64 = m64(input_ids=x).logits[0]
    naive = m64(input_ids=x).logits[0]  # model.double(): norms, softmax and rotation stay F32
    del m64
    g = torch.Generator().manual_seed(SEED)
    rows = torch.tensor([0, 1, 37, 128, 200, 255])
    columns = torch.randperm(z64.shape[1], generator=g)[:64].sort().values
    notes = {}
    for attention in ("eager", "sdpa"):
        m.set_attn_implementation(attention)
        err = (m(input_ids=x).logits[0].double() - z64).abs()
        notes |= {
            f"{attention}_max_abs_f32_minus_f64": repr(float(err.max())),
            f"{attention}_max_abs_f32_minus_f64_rows": repr(float(err[rows].max())),
            f"{attention}_max_abs_f32_minus_f64_columns": repr(float(err[:, columns].max())),
            f"{attention}_rms_f32_minus_f64": repr(float(err.pow(2).mean().sqrt())),
        }
    notes["model_double_max_abs_minus_f64"] = repr(float((naive - z64).abs().max()))
    assert float(notes["eager_max_abs_f32_minus_f64"]) < 1e-3
    golden.write(OUT / "logits.safetensors", dict(
        tokens=golden.i32(ids), rows=golden.i32(rows), logits64=z64[rows].float(), columns=golden.i32(columns),
        columns64=z64[:, columns].float(), lse64=z64.logsumexp(-1), argmax=golden.i32(z64.argmax(-1)),
    ), provenance() | notes | {"text": tok.decode(ids)})
    for k, v in notes.items():
        print(k, v)


PROMPTS = """What is the capital of France, and what is it known for?
Explain photosynthesis to a ten year old.
Write a short poem about the sea.
How do I boil an egg?
Name three planets and say one thing about each.
Why is the sky blue?
Write a Python function that adds two numbers.
What is a mortise and tenon joint?
Tell me a story about a dragon and a baker.
What are the benefits of regular exercise?
How does a bicycle stay upright?
Give me advice for learning a new language.
What is machine learning?
Describe the water cycle.
Who was Albert Einstein?
How do airplanes fly?
Write an email asking for a day off.""".splitlines()


@torch.no_grad()
def greedy():
    tok, m = smollm2_model.tokenizer(), smollm2_model.model()
    m64, cases, ended = llama64.double(m), [], []
    for text in PROMPTS:
        messages = [dict(role="user", content=text)]
        s = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tok(s, add_special_tokens=False)["input_ids"]
        ids, cache, x = [], None, torch.tensor([prompt])
        while len(ids) < 64:
            out = m(input_ids=x, past_key_values=cache, use_cache=True)
            cache, best = out.past_key_values, int(out.logits[0, -1].argmax())
            if best == m.config.eos_token_id:
                break
            ids.append(best)
            x = torch.tensor([[best]])
        done = len(ids) < 64
        with llama64.patched():
            z = m64(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 :]
        z = z if done else z[:-1]
        top = z.topk(2, -1)
        gap = float((top.values[:, 0] - top.values[:, 1]).min())
        want = ids + [m.config.eos_token_id] if done else ids
        print(f"gap {gap:.2g} {len(ids)} tokens: {text}")
        if gap < 5e-3 or top.indices[:, 0].tolist() != want:
            continue
        c = dict(messages=messages, text=s, prompt=prompt, ids=ids, completion=tok.decode(ids), min_gap=gap)
        (ended if done else cases).append(c)
        if len(cases) == 10 and ended:
            break
    assert len(cases) == 10 and ended, (len(cases), len(ended))
    golden.write_json(OUT / "greedy.json", provenance() | dict(
        about="cases: 64 greedy tokens, no end token among them; ended: answers that the end token ends before 64. min_gap is the smallest distance between the two best logits, in F64.",
        cases=cases, ended=ended,
    ))


def lines(tok):
    """Twelve unequal pieces of the licence text, 60 to 120 tokens each."""
    ids = tok((golden.ROOT.parent / "LICENSE").read_text())["input_ids"]
    rows, at = [], 0
    for i in range(12):
        n = 60 + (i * 37) % 61
        rows.append(dict(input_ids=ids[at : at + n]))
        at += n
    return rows


def train_case(name, b):
    dir = OUT / f"train-{name}"
    dir.mkdir(parents=True, exist_ok=True)
    p = dict(batch=2, accumulate=1, seq=128, lr=2e-4, schedule="constant", warmup=0, weight_decay=0.0, clip=1.0, recompute=False, steps=20)
    tok = smollm2_model.tokenizer()
    (dir / "data.jsonl").write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in lines(tok)))
    rows = trainer.read(dir / "data.jsonl", p["seq"])

    torch.manual_seed(SEED)
    m = get_peft_model(smollm2_model.model(), LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    if b:
        g = torch.Generator().manual_seed(SEED + 1)
        for n, q in m.named_parameters():
            if "lora_B" in n:
                q.data.copy_(torch.randn(q.shape, generator=g) * b)
    m.save_pretrained(dir / "init")
    (dir / "init" / "README.md").unlink()
    f = dir / "init" / "adapter_model.safetensors"
    golden.write(f, {k: v.half() for k, v in load_file(f).items()}, {"format": "pt"})
    del m

    def start(attention):
        m = PeftModel.from_pretrained(smollm2_model.model(attention), dir / "init", is_trainable=True)
        assert all(q.dtype == torch.float32 for q in m.parameters())
        return m

    model = start("eager")
    curve64, model64 = trainer.run64(model, rows, p)
    t64 = trainer.trainable(model64)
    del model64
    curve = trainer.run(model, rows, p)
    result = curve, trainer.trainable(model)
    out = {k: v.contiguous() for k, v in get_peft_model_state_dict(model).items()}
    del model
    other = start("sdpa")
    other_curve = trainer.run(other, rows, p)
    noise = {"sdpa": trainer.compare((other_curve, trainer.trainable(other)), result), "f64": trainer.compare(result, (curve64, t64))}
    golden.write(dir / "final.safetensors", out, provenance())
    golden.write_json(dir / "case.json", provenance() | dict(
        method="lora", base="models/" + golden.MODEL.name, note="B starts at zero" if not b else "B does not start at zero",
        parameters=p, lora=dict(rank=4, alpha=8, targets=["q_proj", "v_proj"], rslora=False), curve=curve, loss64=[c["loss"] for c in curve64], noise=noise,
    ))
    print(name, [round(c["loss"], 4) for c in curve], json.dumps(noise, indent=1))


def train():
    train_case("zero", 0.0)
    train_case("nonzero", 0.02)


def main():
    golden.setup(SEED)
    for name in sys.argv[1:] or ("logits", "greedy", "train"):
        {"logits": logits, "greedy": greedy, "train": train}[name]()


if __name__ == "__main__":
    main()
