"""Prefill and decoding by llama.cpp, the peer of decoding.

    python bench/peers/llamacpp.py MODEL.gguf... [--threads N] [--runs N]

One stream: a prompt of 512 tokens in one batch, then 128 tokens one by one, the likeliest each,
from an empty cache. After a warm-up the median of the runs is printed, one JSON object a model:
tokens a second of prefill and of decoding. Types of the KV cache are llama.cpp's default (F16).
"""
import argparse
import ctypes
import json
import statistics
import time

import llama_cpp
import llama_cpp as L

from serve import serve

parser = argparse.ArgumentParser()
parser.add_argument("models", nargs="+")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--runs", type=int, default=3)
parser.add_argument("--prompt", type=int, default=512)
parser.add_argument("--short", type=int, default=16, help="prompt before decoding is measured")
parser.add_argument("--tokens", type=int, default=128)
parser.add_argument("--serve", action="store_true", help="one model, for bench/compare (see serve.py)")
args = parser.parse_args()


@L.llama_log_callback
def silent(level, text, data):
    pass


L.llama_log_set(silent, ctypes.c_void_p(0))
L.llama_backend_init()


def decode(ctx, ids):
    ids = (L.llama_token * len(ids))(*ids)
    if L.llama_decode(ctx, L.llama_batch_get_one(ids, len(ids))) != 0:
        raise SystemExit("llama_decode failed")
    L.llama_synchronize(ctx)


def prefill(ctx, vocab):
    """Returns the seconds of the prompt."""
    L.llama_memory_clear(L.llama_get_memory(ctx), True)
    start = time.perf_counter()
    decode(ctx, [(7 * i + 3) % vocab for i in range(args.prompt)])
    return time.perf_counter() - start


def generate(ctx, vocab):
    """Returns the seconds of all tokens."""
    L.llama_memory_clear(L.llama_get_memory(ctx), True)
    decode(ctx, [(7 * i + 3) % vocab for i in range(args.short)])
    sampler = L.llama_sampler_init_greedy()
    start = time.perf_counter()
    for _ in range(args.tokens):
        decode(ctx, [L.llama_sampler_sample(sampler, ctx, -1)])
    tokens = time.perf_counter() - start
    L.llama_sampler_free(sampler)
    return tokens


def run(ctx, vocab):
    return prefill(ctx, vocab), generate(ctx, vocab)


for path in args.models:
    model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
    if not model:
        raise SystemExit(f"{path}: llama.cpp cannot load it")
    params = L.llama_context_default_params()
    params.n_ctx = 1024
    params.n_batch = params.n_ubatch = args.prompt
    params.n_threads = params.n_threads_batch = args.threads
    ctx = L.llama_init_from_model(model, params)
    vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    run(ctx, vocab)
    if args.serve:
        serve({"peer": "llama.cpp", "version": "llama-cpp-python " + llama_cpp.__version__},
              lambda kind, reps: prefill(ctx, vocab) if kind == "prefill" else generate(ctx, vocab) / args.tokens)
        break
    runs = [run(ctx, vocab) for _ in range(args.runs)]
    print(json.dumps({
        "model": path.rsplit("/", 1)[-1], "threads": args.threads,
        "prefill_tokens_per_s": round(args.prompt / statistics.median(p for p, _ in runs), 1),
        "decode_tokens_per_s": round(args.tokens / statistics.median(t for _, t in runs), 1),
    }), flush=True)
    L.llama_free(ctx)
    L.llama_model_free(model)
