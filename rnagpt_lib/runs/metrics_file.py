"""What may stand in a run's ``metrics.json``: finite numbers and texts, nested by name.

>>> merged({"loss": {"first": 2.0}}, {"loss": {"last": 0.5}})
{'loss': {'first': 2.0, 'last': 0.5}}
"""

import math
from collections.abc import Mapping

from rnagpt_lib.core.errors import InputError


def merged(earlier: Mapping[str, object], new: Mapping[str, object], name: str = "") -> dict:
    """``earlier`` with ``new`` laid over it, level by level; numpy scalars become plain.

    Raises InputError naming the first metric that is NaN, infinite or of another kind.
    """
    result = dict(earlier)
    for key, value in new.items():
        full = f"{name}{key}"
        if isinstance(value, Mapping):
            below = result.get(key)
            result[str(key)] = merged(below if isinstance(below, dict) else {}, value, f"{full}.")
        else:
            result[str(key)] = _plain(full, value)
    return result


def _plain(name: str, value: object) -> float | int | str | bool:
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if not isinstance(plain, float | int | str):
        raise InputError(f"metric {name} is a {type(value).__name__}; it can be a number or text")
    if isinstance(plain, float) and not math.isfinite(plain):
        raise InputError(f"metric {name} is {plain}; metrics are finite, so leave it out")
    return plain
