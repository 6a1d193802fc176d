"""Makes the GGUF files that decoding is measured on, with llama.cpp's own quantiser.

    python testdata/quantize-smollm2.py SOURCE.gguf FOLDER

SOURCE is the file that fetch-smollm2.sh fetches. F16, Q8_0 and Q4_0 are written beside it, each
from the source's values (allow_requantize): for speed it does not matter that these are rounded
twice. A file that is there already is kept; one appears under its name only when it is complete.
"""
import os
import sys

import llama_cpp

FTYPES = {"F16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16, "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
          "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}

source, folder = sys.argv[1:]
llama_cpp.llama_backend_init()
for name, ftype in FTYPES.items():
    out = os.path.join(folder, os.path.basename(source).replace("Q4_1", name))
    if os.path.exists(out):
        print(out, "is there already")
        continue
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = ftype, True
    part = out + ".part"
    if llama_cpp.llama_model_quantize(source.encode(), part.encode(), params) != 0:
        sys.exit(f"{out}: llama.cpp could not write it")
    os.replace(part, out)
    print(out)
