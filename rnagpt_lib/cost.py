"""What calls cost, in integer micro-dollars: at most, in fact, and a whole stage beforehand."""

import json
import math

from rnagpt_lib.errors import InputError
from rnagpt_lib.profiles import Calls, Price

BATCH_PRICE = 2  # the Batch API costs one half
CHARACTERS = 4  # of a token, in English text and JSON
OVERHEAD = 256  # tokens that a server's own chat template and schema rendering may add


def price_of(settings: Calls, model: str) -> Price | None:
    """The model's price, or None. Raises InputError for a cap that no price can hold to."""
    found = settings.prices.get(model)
    if found is None and settings.cap_dollars is not None:
        raise InputError(
            f"CAP_DOLLARS is set, but PRICES has no price of model {model!r}; add "
            f"{{{model}: {{input: …, output: …}}}}, in dollars per million tokens"
        )
    return found


def cap_of(settings: Calls) -> int | None:
    """The cap in micro-dollars, or None."""
    return None if settings.cap_dollars is None else math.floor(settings.cap_dollars * 1_000_000)


def microdollars(price: Price | None, tokens_in: int, tokens_out: int, batch: bool = False) -> int:
    """The price of a call, rounded up; 0 when no price is known.

    >>> microdollars(Price(input="0.15", output="0.6"), 1000, 100)
    210
    """
    if price is None:
        return 0
    exact = price.input * tokens_in + price.output * tokens_out
    return math.ceil(exact / BATCH_PRICE if batch else exact)


def most_tokens_in(body: dict) -> int:
    """A bound on a request's input tokens: no token is shorter than a byte of its text."""
    return len(json.dumps(body, ensure_ascii=False).encode()) + OVERHEAD


def likely_tokens_in(body: dict) -> int:
    """About how many input tokens a request has, at `CHARACTERS` a token."""
    return len(json.dumps(body, ensure_ascii=False)) // CHARACTERS
