"""Parameters and file sizes of transformers' models under PEFT's methods, on the meta device: testdata/plan/golden.json.

	python testdata/gen/plan.py

Nothing has contents: modules are made on torch's meta device, but for prompts, which PEFT
makes of contents alone, on the tiny models. A file's size is that of the header that
safetensors would write and of its tensors in F32.
"""

import golden  # first: it mends sys.path

import json
import re
import warnings

import peft
import torch
from peft.utils import get_peft_model_state_dict
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

warnings.simplefilter("ignore")
OUT = golden.ROOT / "plan"
QKVO = ["q_proj", "k_proj", "v_proj", "o_proj"]
SMOLLM2 = dict(
    model_type="llama", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, rms_norm_eps=1e-5, rope_theta=100000, tie_word_embeddings=True, max_position_embeddings=8192,
)
QWEN2 = dict(
    model_type="qwen2", vocab_size=1000, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=False,
)
QWEN3 = QWEN2 | dict(model_type="qwen3", head_dim=32)


def built_in():
    """The configurations of plan/configs.go."""
    text = (golden.ROOT.parent / "plan" / "configs.go").read_text()
    found = dict(re.findall(r'"([\w-]+)": `(\{.*?\})`', text, re.S))
    return {name: json.loads(c) for name, c in found.items() if name != "openvla-7b"}


def base(config, device="meta"):
    c = dict(config)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(CONFIG_MAPPING[c.pop("model_type")](**c))


def file_bytes(tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in sorted(tensors.items()):
        n = 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + n]}
        at += n
    h = len(json.dumps(header, separators=(",", ":")))
    return 8 + (h + 7) // 8 * 8 + at


def parts(model):
    out = dict(total=0, embedding=0, attention=0, mlp=0, norm=0, head=0)
    for name, p in model.named_parameters():
        n = p.numel()
        out["total"] += n
        for key, part in [("embed_tokens", "embedding"), ("norm.", "norm"), (".self_attn.", "attention"), (".mlp.", "mlp"), ("lm_head", "head")]:
            if key in name:
                out[part] += n
                break
    return out


def case(config, method, cfg, **plan):
    device = "cpu" if cfg.is_prompt_learning else "meta"
    with torch.device(device):
        model = peft.get_peft_model(base(config, device), cfg)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    state = {n: tuple(p.shape) for n, p in get_peft_model_state_dict(model).items()}
    return dict(method=method, trainable=sum(p.numel() for p in trained.values()), tensors=len(trained), file=file_bytes(state), **plan)


def lora(**kw):
    return peft.LoraConfig(task_type="CAUSAL_LM", **kw)


def cases(config, few):
    common = dict(task_type="CAUSAL_LM")
    yield "lora", lora(r=8, target_modules=QKVO), dict(rank=8, targets=",".join(QKVO))
    yield "lora", lora(r=32, target_modules=QKVO), dict(rank=32, targets=",".join(QKVO))
    yield "lora", lora(r=16, target_modules="all-linear"), dict(rank=16, targets="all-linear")
    if few:
        return
    yield "lora", lora(r=4), dict(rank=4, targets="")
    yield "lora", lora(r=4, target_modules="all-linear", rank_pattern={"down_proj": 64, r"layers\.1\.self_attn\.q_proj": 2}), dict(
        rank=4, targets="all-linear", ranks=["down_proj=64", r"layers\.1\.self_attn\.q_proj=2"])
    yield "lora", lora(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]), dict(rank=4, targets="q_proj", save="lm_head")
    yield "dora", lora(r=8, target_modules="all-linear", use_dora=True), dict(rank=8, targets="all-linear")
    yield "adalora", peft.AdaLoraConfig(init_r=8, total_step=10, target_modules=QKVO, **common), dict(rank=8, targets=",".join(QKVO))
    yield "loha", peft.LoHaConfig(r=8, target_modules=QKVO, **common), dict(rank=8, targets=",".join(QKVO))
    yield "lokr", peft.LoKrConfig(r=8, target_modules="all-linear", **common), dict(rank=8, targets="all-linear")
    yield "lokr", peft.LoKrConfig(r=64, target_modules="all-linear", **common), dict(rank=64, targets="all-linear")
    yield "oft", peft.OFTConfig(oft_block_size=32, target_modules="all-linear", **common), dict(rank=8, targets="all-linear")
    yield "miss", peft.MissConfig(r=8, target_modules=QKVO, **common), dict(rank=8, targets=",".join(QKVO))
    yield "vera", peft.VeraConfig(r=32, target_modules="all-linear", **common), dict(rank=32, targets="all-linear")
    yield "ia3", peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], **common), dict(rank=8, targets="")
    yield "ln-tuning", peft.LNTuningConfig(target_modules=["input_layernorm", "post_attention_layernorm", "norm", "q_norm", "k_norm"], **common), dict(rank=8, targets="")
    if config["hidden_size"] > 64:
        return
    yield "prompt-tuning", peft.PromptTuningConfig(num_virtual_tokens=20, **common), dict(rank=8, targets="", virtual=20)
    yield "prefix-tuning", peft.PrefixTuningConfig(num_virtual_tokens=20, **common), dict(rank=8, targets="", virtual=20)
    yield "p-tuning", peft.PromptEncoderConfig(num_virtual_tokens=20, encoder_hidden_size=config["hidden_size"], **common), dict(
        rank=8, targets="", virtual=20)


def main():
    out = {}
    for name, config in (built_in() | {"smollm2": SMOLLM2, "qwen2": QWEN2, "qwen3": QWEN3}).items():
        model = base(config)
        rows = []
        for method, cfg, plan in cases(config, few=name in ("llama2-13b", "llama-65b")):
            rows.append(case(config, method, cfg, **plan))
        out[name] = dict(config=config, parameters=parts(model), cases=rows)
        print(name, len(rows))
    golden.write_json(OUT / "golden.json", golden.provenance(0, "transformers", "peft") | dict(models=out))


main()
