"""``rnagpt audit``: checks where the audit may be written, makes it, writes page and numbers."""

import tempfile
from pathlib import Path

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import replacing, write_json, writing
from rnagpt_lib.evaluate import audit, audit_findings, audit_page

REMEDY = "name another place with --out"


def run(train: Path, test: Path, out: Path, seed: int = 0, force: bool = False) -> list[str]:
    """Write ``out``, a page, and the JSON of its numbers beside it; returns the findings.

    Raises InputError, before anything is read, where one of them exists (unless ``force``) or
    cannot be written.
    """
    numbers = _checked(out, force)
    found = audit.audit(train, test, seed)
    page = audit_page.render(found)
    _checked(out, force)  # minutes have passed
    with writing(out, REMEDY), replacing(out) as temporary:
        temporary.write_text(page, "utf-8")
        write_json(numbers, found | {"findings": audit_findings.findings(found)})
    return audit_findings.findings(found)


def _checked(out: Path, force: bool) -> Path:
    """Where the numbers go."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out is {out}, and the audit is a page; let its name end in .html")
    numbers = out.with_suffix(".json")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder; make it first, or {REMEDY}")
    for path in (out, numbers):
        if path.is_dir():
            raise InputError(f"{path} is a folder; {REMEDY}")
        if path.exists() and not force:
            raise InputError(f"{path} exists; give --force to replace it, or {REMEDY}")
    with writing(out, REMEDY), tempfile.TemporaryFile(dir=out.parent):
        return numbers
