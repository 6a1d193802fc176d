// Package train trains a model's parameters, or an adapter's, as Hugging Face
// transformers' Trainer does: the same steps, batches, rates, losses and weights.
//
// ReadFile turns a JSONL file into examples, a Loader puts them into batches and
// steps, and Run takes the steps with AdamW and reports each. Evaluate measures a loss.
// A State and an optimizer's moments, saved, let a run go on to the bits of one that
// was never stopped. What is trained is a list of Param: lora.Adapter.Params or
// nn.Params gives it.
package train
