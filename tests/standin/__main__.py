"""Serve the stand-in world for rehearsals: ``python -m tests.standin [PORT] [RNAS]``.

It prints the parameters that send notebooks 00, 02 and 03 here; the key may be any text.
"""

import argparse

from tests.standin import server
from tests.standin.answers import NAME, Model
from tests.standin.ebi import Ebi, addresses
from tests.standin.openai_api import OpenAI

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.standin", description=__doc__)
    parser.add_argument("port", nargs="?", type=int, default=8765)
    parser.add_argument("rnas", nargs="?", type=int, default=60)
    given = parser.parse_args()
    running = server(Ebi(size=given.rnas), OpenAI(answer=Model()), port=given.port)
    base = f"http://127.0.0.1:{running.port}"
    sources = " ".join(f"-p {name.upper()} {url}" for name, url in addresses(base).items())
    print(f"00: -p INPUT rnacentral {sources}")
    print(f"02 and 03: -p PROVIDER openai -p MODEL {NAME} -p BASE_URL {base}/v1", flush=True)
    running.serve_forever()
