#!/bin/sh
# Trains the base model of `tenon demo` anew, by tenon itself, and puts it into
# internal/demo/base. It takes some ten minutes on two cores and needs Go alone.
#
#	examples/demo-base/train.sh [DIR]
#
# DIR, a temporary folder unless it is given, keeps what is made on the way: an
# untrained model, its data, and the trained model in F32. Everything follows from
# fixed seeds. On one kind of processor the files are the same bit for bit; kernels
# of another round differently, which leads to another, equally good model.
set -eu
cd "$(dirname "$0")/../.."
export CGO_ENABLED=0
dir=${1:-}
if [ -z "$dir" ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
fi

go build -o "$dir/tenon" ./cmd/tenon
go run ./internal/demo/make init "$dir"
"$dir/tenon" finetune --method full --model "$dir/init" --data "$dir/base.jsonl" --eval "$dir/base-held-out.jsonl" --out "$dir/trained" \
	--epochs 1 --batch 16 --lr 3e-3 --schedule cosine --warmup 0.03 --weight-decay 0.01 --seed 1
go run ./internal/demo/make store "$dir/trained" internal/demo/base
sha256sum internal/demo/base/*
