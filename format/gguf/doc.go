// Package gguf reads GGUF, the file format of llama.cpp: versions 2 and 3,
// little-endian.
//
// A file is: "GGUF", the version, the numbers of tensors and of metadata
// pairs; the pairs; each tensor's name, dimensions (innermost first), type and
// offset; then, aligned, the tensors' data. See docs/gguf.md of
// https://github.com/ggml-org/ggml.
//
// Every tensor type that ggml has can be listed. Those that [tensor.DType] has
// can be decoded: F32, F64, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K,
// Q4_K, Q5_K, Q6_K and IQ4_NL.
//
// Models of llama.cpp's architectures llama (Llama and Mistral), qwen2 and
// qwen3 have names of their own, see [HFName]; those of llama have an order of
// rows of their own, too, see [Permuted] and [UnpermuteRows].
package gguf
