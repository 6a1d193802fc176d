"""Goldens of the rest of PEFT's LoRA keys: testdata/loramore/CASE/.

	python testdata/gen/loramore.py

Laid out as testdata/lora/CASE (lora.py): adapter/, case.json, golden.safetensors.
Beyond that case.json has

	adapter      the folder that holds the adapter's files: "adapter", or deeper
	ranks, scalings   of each target
	keys         every tensor of the file: its shape
	all_parameters    the number of elements in the file; adapter_parameters is
	             without base_layer.weight, which nobody trains
	merge        "right": logits_merged is there; otherwise why it is not
	warnings     what PEFT says on loading the folder

logits_base is the base model alone, as if there were no adapter. Where PEFT's
merge is wrong or refused there is no logits_merged: merged must equal unmerged, or
be refused with the reason. With layer_replication, logits_replicated is the model
of replicated layers without the adapter.

Weighted sums (weighted-*) have first/ and second/ beside adapter/, which is PEFT's
add_weighted_adapter of the two as it was saved, and "weighted" in case.json.
"""

import golden  # first: it mends sys.path

import copy
import json
import os
import shutil
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import families64

SEED = 20260602
OUT = golden.ROOT / "loramore"
os.chdir(golden.ROOT.parent)  # base_model_name_or_path is relative to it


def base(name):
    m = AutoModelForCausalLM.from_pretrained(golden.ROOT / name, dtype=torch.float32, attn_implementation="eager").eval()
    m.config._name_or_path = m.name_or_path = f"testdata/{name}"
    return m


@torch.no_grad()
def randomise(model, seed):
    """Gives everything trainable values of ordinary size, so that nothing hides at zero."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        r = torch.randn(p.shape, generator=g)
        if name.endswith("bias") or "lora_bias" in name:
            p.add_(0.3 * r)
        elif "lora_embedding_A" in name:
            p.copy_(0.5 * r)
        elif "lora_" in name:
            p.copy_(0.5 * r / p.shape[1] ** 0.5)
        else:  # a whole module, or rows of one
            p.add_(0.5 * p.std() * r)


def save(model, dir, **kw):
    """save_pretrained without README.md, which only repeats the configuration."""
    for c in model.peft_config.values():
        c.base_model_name_or_path = model.get_base_model().name_or_path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(dir, **kw)
    for f in dir.rglob("README.md"):
        f.unlink()


@torch.no_grad()
def run(model, tokens):
    return model(input_ids=tokens, use_cache=False).logits


@torch.no_grad()
def run64(model, tokens):
    with families64.patched():
        return copy.deepcopy(model).double()(input_ids=tokens, use_cache=False).logits


def reload(base_name, dir):
    """What PEFT makes of the folder, and what it says about it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        m = PeftModel.from_pretrained(base(base_name), dir).eval()
    said = sorted({str(w.message).split(". ")[0] for w in said if issubclass(w.category, UserWarning)})
    return m, said


def layers(model):
    """Module path to LoraLayer."""
    return {n.removeprefix("base_model.model."): m for n, m in model.named_modules() if isinstance(m, LoraLayer)}


def golden_of(name, base_name, dir, seed, note="", known_merge=None, more=None, also=None, moved_by=0.05):
    model, said = reload(base_name, dir)
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, model.config.vocab_size, (2, 6), generator=g)
    if also:
        tokens[:, :4] = torch.tensor(also)[:4]
    on, on64, off = run(model, tokens), run64(model, tokens), run(base(base_name), tokens)
    files = load_file(dir / "adapter_model.safetensors")
    cfg = json.loads((dir / "adapter_config.json").read_text())
    out = dict(tokens=golden.i32(tokens), logits=on, logits_base=off, logits64=on64)
    if cfg.get("layer_replication"):
        with model.disable_adapter():
            out["logits_replicated"] = run(model, tokens)
    found = layers(model)
    active = model.active_adapter
    ranks = {n: m.r[active] for n, m in found.items()}
    scalings = {n: m.scaling[active] for n, m in found.items()}
    err, moved = float((on.double() - on64).abs().max()), float((on - off).abs().max())
    assert err < 1e-4 and moved > moved_by, (name, err, moved)
    meta = {"max_abs_f32_minus_f64": repr(err)}
    merge = "right"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            merged = run(model.merge_and_unload(), tokens)
        d = float((merged - on).abs().max())
        if d < 1e-4:
            out["logits_merged"] = merged
            meta["max_abs_merged_minus_f64"] = repr(float((merged.double() - on64).abs().max()))
        else:
            merge = f"wrong in PEFT: merged and unmerged logits differ by {d:.2g}"
    except Exception as e:
        merge = f"refused by PEFT: {type(e).__name__}: {' '.join(str(e).split())}"
    assert (merge != "right") == bool(known_merge), (name, merge)
    if known_merge and known_merge is not True:
        merge += "; " + known_merge
    golden.write(OUT / name / "golden.safetensors", out, golden.provenance(SEED, "transformers", "peft") | meta)
    golden.write_json(OUT / name / "case.json", golden.provenance(SEED, "transformers", "peft") | dict(
        base=base_name,
        adapter=str(dir.relative_to(OUT / name)),
        targets=sorted(found),
        scaling=sorted(set(scalings.values())),
        rank=cfg.get("r", 8),
        ranks={n: ranks[n] for n in sorted(ranks)},
        scalings={n: scalings[n] for n in sorted(scalings)},
        adapter_parameters=sum(t.numel() for k, t in files.items() if not k.endswith("base_layer.weight")),
        all_parameters=sum(t.numel() for t in files.values()),
        tensors=len(files),
        keys={k: list(files[k].shape) for k in sorted(files)},
        merge=merge,
        warnings=said,
        note=note,
    ) | (more or {}))
    print(f"{name}: {len(found)} targets, moved {moved:.2f}, |F32-F64| {err:.1g}, {len(files)} tensors, merge {merge}")
    for w in said:
        print("    warns:", w[:160])
    return on


def case(name, base_name, seed, note="", dtype=None, adapter_name="default", edit=None, save_kw=None, same=True, known_merge=None, also=None, more=None, **cfg):
    """edit changes adapter_config.json after saving; same: what was saved gives what was in memory."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(base(base_name), LoraConfig(task_type="CAUSAL_LM", **cfg), adapter_name=adapter_name).eval()
    randomise(model, seed)
    save(model, OUT / name / "adapter", **(save_kw or {}))
    dir = OUT / name / "adapter" / ("" if adapter_name == "default" else adapter_name)
    f = dir / "adapter_config.json"
    if edit:
        d = json.loads(f.read_text())
        f.write_text(json.dumps(edit(d) or d, indent=2))
    if dtype:
        t = dir / "adapter_model.safetensors"
        golden.write(t, {k: v.to(dtype) for k, v in load_file(t).items()}, {"format": "pt"})
    on = golden_of(name, base_name, dir, seed, note, known_merge, also=also, more=more)
    tokens = load_file(OUT / name / "golden.safetensors")["tokens"].long()
    d = float((run(model, tokens) - on).abs().max())
    assert dtype or (d < 1e-5) == same, (name, "in memory", d)
    return model


def same_tensors(name, source, base_name, cfg, note):
    """The adapter of another case under another adapter_config.json."""
    dir = OUT / name / "adapter"
    dir.mkdir(parents=True)
    shutil.copy(OUT / source / "adapter" / "adapter_model.safetensors", dir)
    golden.write_json(dir / "adapter_config.json", cfg)
    on = golden_of(name, base_name, dir, 1, note)
    return on


MHA, TIED, BIAS = "llama/mha", "llama/gqa-tied", "llama/bias"


def patterns():
    case("patterns", TIED, 1, "keys that do not overlap: a suffix, a path, a regular expression; some match nothing", r=4, lora_alpha=8,
         target_modules="all-linear",
         rank_pattern={"q_proj": 2, "layers.1.self_attn.v_proj": 6, r"layers\.[02]\.mlp\.(up|gate)_proj": 3, "proj": 64},
         alpha_pattern={"o_proj": 12, r".*\.2\.mlp\.down_proj": 5.5, "layers.1.self_attn.v_proj": 3})
    # Keys are tried in the file's order, and the first that matches wins.
    case("patterns-overlap", MHA, 2, "overlapping keys, in an order that is not the sorted one: the first in the file wins. PEFT writes keys "
         "sorted and cannot load that; here the configuration is in the order that was applied", r=4, lora_alpha=8, target_modules="all-linear",
         rank_pattern={"layers.1.self_attn.q_proj": 6, ".*q_proj": 2, "down_proj": 5, ".*layers.0.*": 3},
         alpha_pattern={"v_proj": 3, "layers.0.*": 20, ".*": 11},
         edit=lambda d: d | dict(rank_pattern={"layers.1.self_attn.q_proj": 6, ".*q_proj": 2, "down_proj": 5, ".*layers.0.*": 3},
                                 alpha_pattern={"v_proj": 3, "layers.0.*": 20, ".*": 11}))
    model = case("patterns-alpha-sorted", MHA, 3, "overlapping alpha keys as PEFT wrote them, sorted: loaded, they give other scalings than "
                 "those in memory. The file says what the file says", same=False, r=4, lora_alpha=8,
                 target_modules=["q_proj", "v_proj"], alpha_pattern={"v_proj": 3, ".*layers.1.*": 40})
    assert layers(model)["model.layers.1.self_attn.v_proj"].scaling["default"] == 3 / 4
    case("patterns-rslora", MHA, 4, "rsLoRA: alpha over the square root of each target's own rank", r=4, lora_alpha=8, use_rslora=True,
         target_modules=["q_proj", "k_proj", "up_proj"], rank_pattern={"k_proj": 9}, alpha_pattern={"up_proj": 5})
    case("patterns-exclude", TIED, 5, r=4, lora_alpha=8, target_modules="all-linear", exclude_modules=["layers.0.self_attn.q_proj", "gate_proj"],
         rank_pattern={"q_proj": 2, "gate_proj": 7}, alpha_pattern={"layers.1.mlp.up_proj": 2})
    case("patterns-anchored", MHA, 6, "a key may begin with ^ and then must match the whole path", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"],
         rank_pattern={r"^model\.layers\.0\.self_attn\.q_proj": 3, "^self_attn.v_proj": 5})


def saved_modules():
    case("save-head", MHA, 11, "an untied head saved whole", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"])
    case("save-head-tied", TIED, 12, "a tied head saved whole: it is untied from then on, the embedding keeps the base's rows; the merged model's "
         "config must say tie_word_embeddings false", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"])
    case("save-embed", MHA, 13, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens"])
    case("save-embed-tied", TIED, 14, "the embedding of a tied model saved whole: the head keeps the base's rows", r=4, lora_alpha=8,
         target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens"])
    case("save-embed-tied-ensured", TIED, 15, "ensure_weight_tying: head and embedding are both the saved one", r=4, lora_alpha=8,
         target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    case("save-both", MHA, 16, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens", "lm_head"])
    case("save-both-tied", TIED, 17, "both saved, each with its own values", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"],
         modules_to_save=["embed_tokens", "lm_head"])
    case("save-norm", MHA, 18, "every module that ends in the name", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["input_layernorm", "model.norm"])
    case("save-linear", MHA, 19, "a module that is saved is no target", r=4, lora_alpha=8, target_modules="all-linear", modules_to_save=["down_proj"])
    case("save-mlp", BIAS, 20, "a module with modules inside, biases too", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["layers.1.mlp"])
    case("save-head-f16", MHA, 21, "F16 in the file", dtype=torch.float16, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head", "norm"])
    case("save-head-bf16", TIED, 22, "BF16 in the file", dtype=torch.bfloat16, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"])


def biases():
    case("bias-all", BIAS, 31, "every bias of the base, targets' and others'", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], bias="all")
    case("bias-lora-only", BIAS, 32, "the biases of the targets", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], bias="lora_only")
    case("bias-all-no-bias", MHA, 33, "no bias to train: as none", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], bias="all")
    case("bias-all-qwen2", "families/qwen2", 34, "q, k and v have biases", r=4, lora_alpha=8, target_modules=["q_proj", "o_proj"], bias="all")
    case("lora-bias", BIAS, 35, "B has a bias; a merge adds scaling times it to the base's", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], lora_bias=True)
    case("lora-bias-no-bias", MHA, 36, "B has a bias and the base has none", known_merge="the merged layer needs a bias of its own", r=4, lora_alpha=8,
         target_modules=["q_proj", "v_proj"], lora_bias=True)


def embeddings():
    wrong = "the delta of one side lands in both, since they share the weight"
    case("embed", MHA, 41, "the embedding as target: lora_embedding_A [r,V] and lora_embedding_B [D,r] without .weight, and base_layer.weight in the file",
         r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"])
    case("embed-bare", MHA, 42, "saved with save_embedding_layers=False", save_kw=dict(save_embedding_layers=False), r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"])
    case("embed-tied", TIED, 43, "a tied embedding as target: the head keeps the base's rows", known_merge=wrong, r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"])
    case("embed-tied-ensured", TIED, 44, "ensure_weight_tying: the head gets the same adapter, transposed", r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"],
         ensure_weight_tying=True, known_merge="both deltas land in the weight that they share")
    case("head-tied", TIED, 45, "a tied head as target: the embedding keeps the base's rows", known_merge=wrong, r=4, lora_alpha=8, target_modules=["lm_head", "q_proj"])
    case("embed-and-head", MHA, 46, r=4, lora_alpha=8, target_modules=["embed_tokens", "lm_head", "v_proj"], rank_pattern={"embed_tokens": 2})
    case("embed-f16", MHA, 47, "F16 in the file, base_layer.weight too: PEFT then uses that one, rounded, in the base's place", dtype=torch.float16, r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"])
    ids = [3, 7, 50, 94]
    case("tokens", MHA, 51, "rows of the embedding: the file has the rows themselves, not their change", also=ids, r=4, lora_alpha=8,
         target_modules=["q_proj", "v_proj"], trainable_token_indices=ids)
    case("tokens-unsorted", MHA, 52, "in the order of the configuration", also=ids, r=4, lora_alpha=8, target_modules=["q_proj"], trainable_token_indices=[50, 3, 94, 7])
    case("tokens-tied", TIED, 53, "a tied head has the same rows", also=ids, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], trainable_token_indices=ids)
    case("tokens-dict", MHA, 54, "by module", also=ids, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"],
         trainable_token_indices={"embed_tokens": ids, "lm_head": [5, 6, 7]})
    case("tokens-dict-tied", TIED, 55, "by module, the same rows for a tied head", also=ids, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"],
         trainable_token_indices={"embed_tokens": ids, "lm_head": ids})
    case("tokens-head", MHA, 56, "rows of the head alone", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], trainable_token_indices={"lm_head": ids})


def others():
    case("layers-pattern-list", TIED, 61, "layers_pattern as a list", r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], layers_to_transform=[1, 2], layers_pattern=["h", "layers"])
    case("layer-replication", TIED, 62, "layers 0 1 1 2 of the base, each with its own adapter", known_merge="copies share a weight, and each adds its own delta", r=4, lora_alpha=8,
         target_modules=["q_proj", "down_proj"], layer_replication=[[0, 2], [1, 3]])
    case("fan-in-fan-out", MHA, 64, "fan_in_fan_out true on a Linear: PEFT sets it false with a warning", edit=lambda d: d | dict(fan_in_fan_out=True), r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    case("named", MHA, 65, "an adapter that has a name is saved into a folder of that name", adapter_name="poet", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["norm"])
    case("named-like-a-module", MHA, 66, "its name is that of a module; keys do not show it", adapter_name="q_proj", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    for i, b in enumerate(("qwen2", "qwen2-window", "qwen3", "qwen3-tied", "mistral-window", "mistral-bf16", "llama-rope-yarn")):
        case(f"all-linear-{b}", f"families/{b}", 70 + i, r=4, lora_alpha=8, target_modules="all-linear")
    for i, b in enumerate(("qwen2", "qwen3", "mistral")):
        case(f"default-targets-{b}", f"families/{b}", 80 + i, "no target_modules in the file: the family's default, q_proj and v_proj",
             edit=lambda d: d | dict(target_modules=None), r=4, lora_alpha=8)


def configs():
    """adapter_config.json with the keys that the released versions wrote (their LoraConfig's fields)."""
    case("config-0.21", MHA, 91, r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    now = json.loads((OUT / "config-0.21" / "adapter" / "adapter_config.json").read_text())
    v6 = ["alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights",
          "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "modules_to_save", "peft_type", "r", "rank_pattern",
          "revision", "target_modules", "task_type"]
    v9 = v6 + ["loftq_config", "megatron_config", "megatron_core", "use_dora", "use_rslora"]
    v12 = v9 + ["layer_replication"]
    v15 = v12 + ["corda_config", "eva_config", "exclude_modules", "lora_bias", "trainable_token_indices"]
    on = set()
    for version, keys in (("0.6", v6), ("0.9", v9), ("0.12", v12), ("0.15", v15)):
        z = same_tensors(f"config-{version}", "config-0.21", MHA, {k: now[k] for k in sorted(keys)}, f"the keys that PEFT {version} wrote")
        on.add(golden.raw(z))
    assert len(on) == 1


def weighted():
    tokens = torch.randint(3, 96, (2, 9), generator=torch.Generator().manual_seed(7))
    ra = dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    rb = dict(r=4, lora_alpha=2, target_modules=["q_proj", "v_proj", "down_proj"])
    for name, kind, weights, a, b in (
        ("weighted-cat", "cat", [0.7, 0.4], ra, rb | dict(r=6)),
        ("weighted-cat-negative", "cat", [1.0, -0.5], ra, rb),
        ("weighted-cat-patterns", "cat", [0.5, 0.5], ra | dict(rank_pattern={"v_proj": 2}, alpha_pattern={"down_proj": 3}), rb),
        ("weighted-linear", "linear", [0.7, 0.4], ra, rb),
        ("weighted-linear-negative", "linear", [1.0, -0.5], ra, rb),
        ("weighted-svd", "svd", [0.7, 0.4], ra, rb | dict(r=6)),
        ("weighted-svd-8", "svd", [0.7, -0.4], ra, rb),
    ):
        model = get_peft_model(base(MHA), LoraConfig(task_type="CAUSAL_LM", **a), adapter_name="first").eval()
        randomise(model, 101)
        model.add_adapter("second", LoraConfig(task_type="CAUSAL_LM", **b))
        model.set_adapter("second")
        randomise(model, 102)
        model.add_weighted_adapter(["first", "second"], weights, "sum", combination_type=kind, **(dict(svd_rank=8) if name == "weighted-svd-8" else {}))
        model.set_adapter("sum")
        work = OUT / name / "work"
        save(model, work)
        for n, to in (("first", "first"), ("second", "second"), ("sum", "adapter")):
            shutil.move(work / n, OUT / name / to)
        work.rmdir()
        exact = exact_sum(OUT / name, weights, tokens)
        got = run(model, tokens)
        golden_of(name, MHA, OUT / name / "adapter", 100, f"PEFT's add_weighted_adapter, {kind}, of first and second", more=dict(
            weighted=dict(type=kind, adapters=["first", "second"], weights=weights, svd_rank=8 if name == "weighted-svd-8" else None,
                          max_abs_from_exact_sum=float((got - exact).abs().max()))))
        print("    off the sum of the deltas by", float((got - exact).abs().max()))


def exact_sum(dir, weights, tokens):
    """Logits of the base plus the weighted sum of both deltas."""
    m = base(MHA)
    for n, w in zip(("first", "second"), weights):
        p = layers(PeftModel.from_pretrained(base(MHA), dir / n))
        for name, layer in p.items():
            with torch.no_grad():
                m.get_submodule(name).weight.add_(w * layer.get_delta_weight("default"))
    return run(m, tokens)


def main():
    golden.setup(SEED)
    warnings.simplefilter("ignore", FutureWarning)
    shutil.rmtree(OUT, ignore_errors=True)
    patterns()
    saved_modules()
    biases()
    embeddings()
    others()
    configs()
    weighted()
    print(sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
