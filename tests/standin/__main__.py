"""Serve the stand-in world for rehearsals: ``python -m tests.standin [PORT] [RNAS]``.

It prints the parameters that send notebooks 00, 02 and 03 here; the key may be any text.
"""

import sys

from tests.standin import server
from tests.standin.answers import NAME, Model
from tests.standin.ebi import Ebi, addresses
from tests.standin.openai_api import OpenAI

if __name__ == "__main__":
    port, size = (int(text) for text in (sys.argv[1:] + ["8765", "60"][len(sys.argv) - 1 :]))
    running = server(Ebi(size=size), OpenAI(answer=Model()), port=port)
    base = f"http://127.0.0.1:{running.port}"
    sources = " ".join(f"-p {name.upper()} {url}" for name, url in addresses(base).items())
    print(f"00: -p INPUT rnacentral {sources}")
    print(f"02 and 03: -p PROVIDER openai -p MODEL {NAME} -p BASE_URL {base}/v1", flush=True)
    running.serve_forever()
