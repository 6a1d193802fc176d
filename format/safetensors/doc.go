// Package safetensors reads and writes the safetensors format, single files
// and sharded checkpoints with their index.
//
// A file is: the length N of the header (8 bytes, little-endian), the header
// (N bytes of JSON: name → dtype, shape, data_offsets; and __metadata__, string
// → string), then the tensors' bytes, little-endian and row-major, without
// holes. See https://github.com/huggingface/safetensors.
//
// Reading maps the file and validates the whole header before anything else;
// it accepts what the reference implementation accepts, except that duplicate
// keys, structures written as JSON arrays and the element types that
// [tensor.DType] does not have are errors. Writing gives the bytes that
// safetensors.torch.save_file gives for the same tensors and metadata.
package safetensors
