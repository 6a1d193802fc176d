"""Tiny models of each family with each RoPE scaling, stored in BF16 and F16: testdata/families/FAMILY-rope-SCALING-{bf16,f16}/.

	python testdata/gen/families_half.py

Laid out as the others of testdata/families (families.py).
"""

import golden  # first: it mends sys.path

import shutil
import warnings

import torch

import families

SCALINGS = {
    "linear": (dict(rope_type="linear", factor=2.5), {}),
    "dynamic": (dict(rope_type="dynamic", factor=2.0), dict(max_position_embeddings=16)),
    "llama3": (dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64), {}),
    "yarn": (dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64), {}),
}


def main():
    golden.setup(families.SEED)
    warnings.simplefilter("ignore")
    small = dict(hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24)
    for i, family in enumerate(("llama", "qwen2", "qwen3", "mistral")):
        kw = small | {"mistral": dict(sliding_window=None), "qwen3": dict(head_dim=12)}.get(family, {})
        for j, (name, (scaling, more)) in enumerate(SCALINGS.items()):
            for k, (suffix, dtype) in enumerate({"bf16": torch.bfloat16, "f16": torch.float16}.items()):
                out = f"{family}-rope-{name}-{suffix}"
                shutil.rmtree(families.OUT / out, ignore_errors=True)
                seed = 1000 + 100 * i + 10 * j + k
                model = families.tiny(family, seed, theta=10000.0, scaling=scaling, **(kw | more))
                families.variant(out, model, seed, t=40, dtype=dtype,
                                 unlike={"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}})


if __name__ == "__main__":
    main()
