"""Goldens of PEFT's LoRA on the tiny Llamas: testdata/lora/CASE/.

	python testdata/gen/lora.py

	adapter/             what save_pretrained writes (README.md left out)
	case.json            base, matched targets, scaling, counts of parameters
	golden.safetensors   tokens I32 [B,T]; F32 [B,T,V]: logits (adapter on),
	                     logits_base (adapter off), logits_merged (after
	                     merge_and_unload); logits64 F64 [B,T,V]: adapter on, in F64

init.json holds what PEFT's initialisations look like: bounds and moments.
"""

import golden  # first: it mends sys.path

import copy
import json
import shutil
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

import llama64

SEED = 20260103
OUT = golden.ROOT / "lora"
LLAMA = golden.ROOT / "llama"


def base(name):
    m = LlamaForCausalLM.from_pretrained(LLAMA / name, dtype=torch.float32, attn_implementation="eager").eval()
    m.config._name_or_path = m.name_or_path = f"testdata/llama/{name}"
    return m


def randomise(model, seed, a=True, b=True):
    """Fills A and B with values of ordinary size, so that nothing hides at zero."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if ("lora_A" in name and a) or ("lora_B" in name and b):
            p.data.copy_(torch.randn(p.shape, generator=g) * 0.5 / p.shape[1] ** 0.5)


def save(model, dir, **kw):
    """save_pretrained without README.md, which only repeats the configuration."""
    for c in model.peft_config.values():
        c.base_model_name_or_path = model.get_base_model().name_or_path
    model.save_pretrained(dir, **kw)
    (dir / "README.md").unlink(missing_ok=True)


@torch.no_grad()
def run(model, tokens):
    return model(input_ids=tokens, use_cache=False).logits


@torch.no_grad()
def run64(model, tokens):
    with llama64.patched():
        return copy.deepcopy(model).double()(input_ids=tokens, use_cache=False).logits


def reload(base_name, dir):
    """What PEFT itself makes of the folder; it must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return PeftModel.from_pretrained(base(base_name), dir).eval()


def targets(model):
    return sorted(
        n.removeprefix("base_model.model.").removesuffix(".lora_A")
        for n, _ in model.named_modules()
        if n.endswith(".lora_A")
    )


def golden_of(name, base_name, dir, seed, note=None):
    model = reload(base_name, dir)
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, model.config.vocab_size, (2, 5), generator=g)
    on, on64 = run(model, tokens), run64(model, tokens)
    with model.disable_adapter():
        off = run(model, tokens)
    assert torch.equal(off, run(base(base_name), tokens)), name
    files = load_file(dir / "adapter_model.safetensors")
    cfg = json.loads((dir / "adapter_config.json").read_text())
    found = targets(model)
    scaling = {m.scaling["default"] for m in model.modules() if isinstance(m, LoraLayer)}
    merged = run(model.merge_and_unload(), tokens)
    err, moved = float((on.double() - on64).abs().max()), float((on - off).abs().max())
    assert err < 5e-5 and moved > 0.05, (name, err, moved)
    assert (merged - on).abs().max() < 1e-4, name
    golden.write(OUT / name / "golden.safetensors", dict(
        tokens=golden.i32(tokens), logits=on, logits_base=off, logits_merged=merged, logits64=on64,
    ), golden.provenance(SEED, "transformers", "peft") | {
        "max_abs_f32_minus_f64": repr(err),
        "max_abs_merged_minus_f64": repr(float((merged.double() - on64).abs().max())),
    })
    golden.write_json(OUT / name / "case.json", golden.provenance(SEED, "transformers", "peft") | dict(
        base=f"llama/{base_name}",
        targets=found,
        scaling=sorted(scaling),
        rank=cfg["r"],
        adapter_parameters=sum(t.numel() for k, t in files.items() if "lora_" in k),
        tensors=len(files),
        note=note or "",
    ))
    print(f"{name}: {len(found)} targets, moved {moved:.2f}, |F32-F64| {err:.1g}, {len(files)} tensors")


def case(name, base_name, seed, dtype=torch.float32, note=None, **cfg):
    dir = OUT / name / "adapter"
    torch.manual_seed(seed)
    save_kw = cfg.pop("save_kw", {})
    model = get_peft_model(base(base_name), LoraConfig(task_type="CAUSAL_LM", **cfg))
    randomise(model, seed)
    save(model, dir, **save_kw)
    if dtype != torch.float32:
        f = dir / "adapter_model.safetensors"
        golden.write(f, {k: t.to(dtype) for k, t in load_file(f).items()}, {"format": "pt"})
    golden_of(name, base_name, dir, seed, note)


def same_tensors(name, source, base_name, cfg, note, quiet=True):
    """The adapter of another case under another adapter_config.json."""
    dir = OUT / name / "adapter"
    dir.mkdir(parents=True)
    shutil.copy(OUT / source / "adapter" / "adapter_model.safetensors", dir)
    golden.write_json(dir / "adapter_config.json", cfg)
    want = load_file(OUT / source / "golden.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not quiet else "error", UserWarning)
        model = PeftModel.from_pretrained(base(base_name), dir).eval()
    assert torch.equal(run(model, want["tokens"].long()), want["logits"]), name
    golden.write(OUT / name / "golden.safetensors", want, golden.provenance(SEED, "transformers", "peft"))
    golden.write_json(OUT / name / "case.json", golden.provenance(SEED, "transformers", "peft") | dict(
        json.loads((OUT / source / "case.json").read_text()), note=note))
    print(f"{name}: as {source}")


def configs():
    """adapter_config.json as older and newer PEFTs wrote it."""
    now = json.loads((OUT / "default" / "adapter" / "adapter_config.json").read_text())
    old3 = ["base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha",
            "lora_dropout", "modules_to_save", "peft_type", "r", "target_modules", "task_type"]
    old6 = sorted(old3 + ["alpha_pattern", "auto_mapping", "layers_pattern", "layers_to_transform", "rank_pattern", "revision"])
    same_tensors("config-0.3", "default", "mha", {k: now[k] for k in old3}, "the keys that PEFT 0.3 wrote")
    same_tensors("config-0.6", "default", "mha", {k: now[k] for k in old6}, "the keys that PEFT 0.6 wrote")
    same_tensors("config-minimal", "default", "mha", {k: now[k] for k in ("peft_type", "lora_alpha", "target_modules")},
                 "only what differs from the defaults")
    unknown = now | {"a_key_of_the_future": {"nested": [1, 2.5, None, "x"]}, "another": True, "peft_version": "99.0.0"}
    same_tensors("config-unknown-keys", "default", "mha", unknown, "keys that PEFT does not know: dropped with a warning", quiet=False)


def init():
    """Bounds and moments of PEFT's initialisations, on a layer big enough to measure."""
    out = []
    lin = torch.nn.Sequential()
    lin.add_module("q_proj", torch.nn.Linear(512, 256))
    for kind in (True, "gaussian"):
        for r in (4, 16):
            a = []
            for seed in range(20):
                torch.manual_seed(seed)
                m = get_peft_model(copy.deepcopy(lin), LoraConfig(r=r, target_modules=["q_proj"], init_lora_weights=kind))
                l = m.base_model.model.q_proj
                assert not l.lora_B["default"].weight.any()
                a.append(l.lora_A["default"].weight.detach())
            a = torch.stack(a)
            out.append(dict(init_lora_weights=kind, r=r, in_features=512, count=a.numel(), mean=float(a.mean()), std=float(a.std()),
                            min=float(a.min()), max=float(a.max()),
                            expected_std=(1 / 512**0.5 / 3**0.5) if kind is True else 1 / r))
            assert abs(out[-1]["std"] / out[-1]["expected_std"] - 1) < 0.01
    golden.write_json(OUT / "init.json", golden.provenance(SEED, "peft") | {
        "about": "A: true is uniform in ±1/sqrt(in_features); gaussian is N(0, 1/r). B is zero.",
        "cases": out,
    })


def main():
    golden.setup(SEED)
    shutil.rmtree(OUT, ignore_errors=True)
    case("default", "mha", 1, lora_alpha=16, note="no target_modules: PEFT's default for llama, q_proj and v_proj")
    case("all-linear", "gqa-tied", 2, r=4, lora_alpha=8, target_modules="all-linear", note="the tied head is left out")
    case("all-linear-untied", "mha", 3, r=4, lora_alpha=8, target_modules="all-linear", note="the untied head is left out too")
    case("regex", "mha", 4, r=4, lora_alpha=8, target_modules=r".*layers\.1\..*(q_proj|down_proj)")
    case("exclude", "mha", 5, r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "up_proj", "self_attn.o_proj"],
         exclude_modules=["layers.0.self_attn.q_proj", "up_proj"], note="lists match a whole dotted suffix")
    case("exclude-regex", "mha", 6, r=4, lora_alpha=8, target_modules="all-linear", exclude_modules=r".*\.(gate|up|down)_proj|.*layers\.1\..*")
    case("layers", "gqa-tied", 7, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], layers_to_transform=[0, 2])
    case("layers-pattern", "mha", 8, r=4, lora_alpha=8, target_modules=["k_proj", "gate_proj"], layers_to_transform=1, layers_pattern="layers")
    case("rslora", "mha", 9, r=4, lora_alpha=8, use_rslora=True, lora_dropout=0.1, target_modules=["q_proj", "v_proj"],
         note="lora_dropout in the file changes nothing when not training")
    case("gaussian", "mha", 10, r=4, lora_alpha=8, init_lora_weights="gaussian", target_modules=["o_proj"])
    case("float-alpha", "mha", 11, r=4, lora_alpha=10.5, target_modules=["q_proj", "down_proj"])
    case("r64", "head-dim", 12, r=64, lora_alpha=16, target_modules=["q_proj", "v_proj"], note="rank above the layer's own size")
    case("bias-base", "bias", 13, r=4, lora_alpha=8, target_modules="all-linear", note="base layers have biases; the adapter has none")
    case("head", "mha", 14, r=4, lora_alpha=8, target_modules=["q_proj", "lm_head"], save_kw=dict(save_embedding_layers=False),
         note="an adapted untied head")
    case("head-auto-saved", "mha", 14, r=4, lora_alpha=8, target_modules=["q_proj", "lm_head"],
         note="the same as PEFT saves it by itself: with lm_head.base_layer.weight in the file")
    case("f16", "mha", 15, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], dtype=torch.float16, note="tensors stored as F16, computed in F32")
    case("bf16", "mha", 16, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], dtype=torch.bfloat16, note="tensors stored as BF16, computed in F32")
    case("r1", "gqa-tied", 17, r=1, lora_alpha=2, target_modules=["k_proj"])
    configs()
    init()
    print(sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
