"""What bench/compare speaks with a peer: lines of JSON.

The peer says who it is, as an object on its first line. Then each line on stdin is a
request, an object with the arguments of one sample; the answer is {"seconds": …} or
{"error": "…"}. End of input ends the peer.
"""

import json
import sys


def serve(about, run):
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        try:
            answer = {"seconds": run(**json.loads(line))}
        except Exception as e:  # the runner says it and goes on without this case
            answer = {"error": f"{type(e).__name__}: {e}"[:300]}
        print(json.dumps(answer), flush=True)
