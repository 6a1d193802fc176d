#!/usr/bin/env bash
# Everything that docs/performance.md shows, measured on this machine: about half an hour
# on two cores, with nothing else at work. What a peer needs is said in README.md.
#
#	TENON_PYTHON=venv/bin/python bench/measure.sh OUT [GROUP...]
#
# RUN, if set, is a command that each measurement is run by. OUT gets a record a
# group (OUT/GROUP.json), tenon's own report (OUT/bench.json), the
# memory of the step (OUT/memory.txt), the table of all (OUT/compare.md), and the plots.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
python=${TENON_PYTHON:-}
read -ra run <<<"${RUN:-}"
rounds=${ROUNDS:-5}
groups=("$@")
((${#groups[@]})) || groups=(squares packed thin rows go decode prefill step threads nf4 qlora memory bench scaling)

go build -o "$out/compare" ./bench/compare
go build -o "$out/tenon" ./cmd/tenon
go build -o "$out/scaling" ./bench/scaling
gopeers=
(cd bench/peers/gopeers && go build -o "$out/gopeers" .) && gopeers=$out/gopeers

gguf=testdata/models/SmolLM2-135M-Instruct.Q4_1.gguf
for g in "${groups[@]}"; do
	printf '== %s, %d s\n' "$g" "$SECONDS" >&2
	case $g in
	memory)
		{
			for w in f32 stored; do
				for recompute in false true; do
					printf 'tenon, %s, recompute=%s\n' "$w" "$recompute"
					${run[@]+"${run[@]}"} "$out/tenon" bench --model "$gguf" --weights "$w" --recompute="$recompute" --threads 2 --jobs memory --json - |
						grep -E '_bytes"|"case"' | grep -v memory_bytes
				done
			done
			if [ -n "$python" ]; then
				for flag in '' --recompute; do
					${run[@]+"${run[@]}"} env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE "$python" bench/peers/torch_lora.py --steps 2 --warmup 2 $flag 2>/dev/null
				done
			fi
		} >"$out/memory.txt"
		;;
	bench)
		${run[@]+"${run[@]}"} "$out/tenon" bench --model "$gguf" --threads 2 --jobs limits,matmul,prefill,decode,step \
			--json "$out/bench.json" --markdown "$out/bench.md" --plot "$out/roofline.png" >/dev/null
		;;
	scaling)
		${run[@]+"${run[@]}"} "$out/scaling" -out "$out" -samples 2 >"$out/scaling.md"
		;;
	*)
		${run[@]+"${run[@]}"} "$out/compare" -python "$python" -gopeers "$gopeers" -rounds "$rounds" -groups "$g" -json "$out/$g.json" >/dev/null
		;;
	esac
done
records=()
for g in squares packed thin rows go decode prefill step threads nf4 qlora; do
	[ -f "$out/$g.json" ] && records+=("$out/$g.json")
done
((${#records[@]} == 0)) || "$out/compare" -merge "${records[@]}" >"$out/compare.md"
