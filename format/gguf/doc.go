// Package gguf reads GGUF, the file format of llama.cpp: versions 2 and 3,
// little-endian.
//
// A file is: "GGUF", the version, the numbers of tensors and of metadata
// pairs; the pairs; each tensor's name, dimensions (innermost first), type and
// offset; then, aligned, the tensors' data. See docs/gguf.md of
// https://github.com/ggml-org/ggml.
//
// Every tensor type that ggml has can be listed; the types that
// [tensor.DType] has can be decoded. Models of llama.cpp's architecture
// "llama" have names and an order of rows of their own: see [HFName] and
// [UnpermuteRows].
package gguf
