#!/bin/sh
# Makes F16, Q8_0 and Q4_0 files of SmolLM2-135M-Instruct in testdata/models/,
# beside the Q4_1 file that fetch-smollm2.sh fetches, with llama.cpp's quantiser.
#
#	PYTHON=python3 testdata/quantize-smollm2.sh
#
# PYTHON is a Python that has testdata/gen/requirements.txt (llama-cpp-python).
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
"$root/fetch-smollm2.sh"
exec "${PYTHON:-python3}" "$root/quantize-smollm2.py" "$root/models/SmolLM2-135M-Instruct.Q4_1.gguf" "$root/models"
