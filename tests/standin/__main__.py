"""Serve the stand-in world for rehearsals: ``python -m tests.standin [PORT] [RNAS]``."""

import sys

from tests.standin import server
from tests.standin.ebi import Ebi, addresses

if __name__ == "__main__":
    port, size = (int(text) for text in (sys.argv[1:] + ["8765", "60"][len(sys.argv) - 1 :]))
    running = server(Ebi(size=size), port=port)
    where = addresses(f"http://127.0.0.1:{running.port}").items()
    print(" ".join(f"-p {name.upper()} {address}" for name, address in where), flush=True)
    running.serve_forever()
