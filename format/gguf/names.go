package gguf

import (
	"fmt"
	"strconv"
	"strings"
)

// permuted has llama.cpp's architectures whose names HFName knows, and whether
// rows of attn_q and attn_k are permuted: llama.cpp rotates the dimensions 2j
// and 2j+1 of an architecture of Llama's lineage together, and j and j+D/2, as
// Hugging Face does, of the others. See conversion/llama.py and
// conversion/qwen.py of https://github.com/ggml-org/llama.cpp.
var permuted = map[string]bool{
	"llama": true, // LlamaForCausalLM and MistralForCausalLM
	"qwen2": false,
	"qwen3": false,
}

// Permuted reports whether models of one of llama.cpp's architectures (the
// metadata's general.architecture) have permuted rows of attn_q and attn_k, to
// be undone by [UnpermuteRows]. ok is false if it is none of llama (Llama and
// Mistral), qwen2 and qwen3.
func Permuted(arch string) (yes, ok bool) {
	yes, ok = permuted[arch]
	return yes, ok
}

// hfParts maps the parts of a layer's tensor names in llama.cpp to those of
// Hugging Face.
var hfParts = map[string]string{
	"attn_norm":   "input_layernorm",
	"ffn_norm":    "post_attention_layernorm",
	"attn_q":      "self_attn.q_proj",
	"attn_k":      "self_attn.k_proj",
	"attn_v":      "self_attn.v_proj",
	"attn_output": "self_attn.o_proj",
	"attn_q_norm": "self_attn.q_norm", // qwen3 has these two
	"attn_k_norm": "self_attn.k_norm",
	"ffn_gate":    "mlp.gate_proj",
	"ffn_up":      "mlp.up_proj",
	"ffn_down":    "mlp.down_proj",
}

// HFName returns the name that a tensor of llama.cpp's architectures llama,
// qwen2 and qwen3 (which name alike what they share) has in a Hugging Face
// checkpoint: blk.7.attn_q.weight is model.layers.7.self_attn.q_proj.weight.
// rope_freqs.weight, the factors of Llama 3's RoPE, which such a checkpoint has
// not, keeps its name. ok is false for any other name.
func HFName(name string) (hf string, ok bool) {
	switch name {
	case "token_embd.weight":
		return "model.embed_tokens.weight", true
	case "output_norm.weight":
		return "model.norm.weight", true
	case "output.weight":
		return "lm_head.weight", true
	case "rope_freqs.weight":
		return name, true
	}
	parts := strings.Split(name, ".") // blk, layer, part, weight or bias
	if len(parts) != 4 || parts[0] != "blk" {
		return "", false
	}
	layer, err := strconv.ParseUint(parts[1], 10, 31)
	if err != nil || strconv.FormatUint(layer, 10) != parts[1] {
		return "", false
	}
	part, ok := hfParts[parts[2]]
	isNorm := strings.HasSuffix(parts[2], "_norm") // RMSNorm has no bias
	if !ok || parts[3] != "weight" && (parts[3] != "bias" || isNorm) {
		return "", false
	}
	return fmt.Sprintf("model.layers.%d.%s.%s", layer, part, parts[3]), true
}

// PermuteRows is the inverse of UnpermuteRows.
func PermuteRows(dst, src []byte, rows, rowBytes, heads int) {
	if heads <= 0 || rows%(2*heads) != 0 || len(src) != rows*rowBytes || len(dst) != len(src) {
		panic(fmt.Sprintf("gguf: PermuteRows of %d rows of %d bytes in %d heads, from %d to %d bytes", rows, rowBytes, heads, len(src), len(dst)))
	}
	half := rows / heads / 2
	for from := range rows {
		h, i, j := from/(2*half), from/half%2, from%half
		to := 2*(h*half+j) + i
		copy(dst[to*rowBytes:(to+1)*rowBytes], src[from*rowBytes:])
	}
}

// UnpermuteRows undoes llama.cpp's permutation of the rows of attn_q and
// attn_k (weights and biases), which pairs the dimensions that RoPE rotates
// together, where the architecture has it ([Permuted]). With D = rows/heads,
//
//	dst row h·D + i·D/2 + j = src row h·D + 2j + i,  i in {0, 1}, 0 <= j < D/2
//
// and dst is in the order of the Hugging Face checkpoint. Rows move as they
// are stored, rowBytes each, so quantised ones do too. heads is the number of
// query heads for attn_q, of key/value heads for attn_k. It panics unless
// 2·heads divides rows, and src and dst have rows·rowBytes bytes.
func UnpermuteRows(dst, src []byte, rows, rowBytes, heads int) {
	if heads <= 0 || rows%(2*heads) != 0 || len(src) != rows*rowBytes || len(dst) != len(src) {
		panic(fmt.Sprintf("gguf: UnpermuteRows of %d rows of %d bytes in %d heads, from %d to %d bytes", rows, rowBytes, heads, len(src), len(dst)))
	}
	half := rows / heads / 2
	for to := range rows {
		h, i, j := to/(2*half), to/half%2, to%half
		from := 2*(h*half+j) + i
		copy(dst[to*rowBytes:(to+1)*rowBytes], src[from*rowBytes:])
	}
}
