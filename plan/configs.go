package plan

// Configs are the models that can be planned by name: each with its config.json as
// its authors published it, but for keys that say nothing of shapes, types or
// tokens.
//
// Source: meta-llama/Llama-2-7b-hf, meta-llama/Llama-2-13b-hf, huggyllama/llama-65b
// and openvla/openvla-7b on the Hugging Face hub. OpenVLA's text_config leaves to
// transformers' defaults what it does not say: they are Llama 2 7B's, but for an
// epsilon of 1e-6.
var Configs = map[string]string{
	"llama2-7b": `{
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "vocab_size": 32000,
  "hidden_size": 4096,
  "intermediate_size": 11008,
  "num_hidden_layers": 32,
  "num_attention_heads": 32,
  "num_key_value_heads": 32,
  "hidden_act": "silu",
  "max_position_embeddings": 4096,
  "rms_norm_eps": 1e-05,
  "rope_scaling": null,
  "tie_word_embeddings": false,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "torch_dtype": "float16"
}`,
	"llama2-13b": `{
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "vocab_size": 32000,
  "hidden_size": 5120,
  "intermediate_size": 13824,
  "num_hidden_layers": 40,
  "num_attention_heads": 40,
  "num_key_value_heads": 40,
  "hidden_act": "silu",
  "max_position_embeddings": 4096,
  "rms_norm_eps": 1e-05,
  "rope_scaling": null,
  "tie_word_embeddings": false,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "torch_dtype": "float16"
}`,
	"llama-65b": `{
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "vocab_size": 32000,
  "hidden_size": 8192,
  "intermediate_size": 22016,
  "num_hidden_layers": 80,
  "num_attention_heads": 64,
  "num_key_value_heads": 64,
  "hidden_act": "silu",
  "max_position_embeddings": 2048,
  "rms_norm_eps": 1e-05,
  "rope_scaling": null,
  "tie_word_embeddings": false,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "torch_dtype": "float16"
}`,
	"openvla-7b": `{
  "architectures": ["OpenVLAForActionPrediction"],
  "model_type": "openvla",
  "arch_specifier": "no-align+fused-gelu-mlp",
  "vision_backbone_id": "dinosiglip-vit-so-224px",
  "use_fused_vision_backbone": true,
  "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
  "image_sizes": [224, 224],
  "image_resize_strategy": "resize-naive",
  "llm_backbone_id": "llama2-7b-pure",
  "hf_llm_id": "meta-llama/Llama-2-7b-hf",
  "llm_max_length": 2048,
  "n_action_bins": 256,
  "pad_to_multiple_of": 64,
  "pad_token_id": 32000,
  "text_config": {
    "model_type": "llama",
    "pad_token_id": 32000,
    "torch_dtype": "bfloat16",
    "vocab_size": 32064
  },
  "torch_dtype": "bfloat16"
}`,
}
