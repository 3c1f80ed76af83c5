"""Self-contained HTML pages: they load no other file, and run no script but their own.

Programs and names are untrusted text. They reach a page escaped, or as JSON that cannot end its element, and the page's
content security policy runs no script but the one whose hash it names.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from distributed.infra.writing import whole_file


def render_page(template: str, title: str, scripts: Sequence[str], data: Any, **parts: str) -> str:
    """Fills a page's template.

    Args:
        template: file in ``assets``.
        title: heading, any text.
        scripts: files in ``assets``, joined to one script in this order.
        data: what the script reads from the element ``data``, as JSON.
        parts: the template's other placeholders, as HTML.
    """
    # The hash covers the script element's whole content, line ends included.
    script = "\n" + "\n".join(_asset(name).strip() for name in scripts) + "\n"
    return Template(_asset(template)).substitute(
        parts,
        title=escape(title),
        css=_asset("report.css"),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=embed_json(data),
    )


def embed_json(data: Any) -> str:
    """JSON that is safe inside a script element: without ``<``, ``>`` and ``&`` it can neither end nor open one."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def write_page(path: str | Path, text: str) -> Path:
    """Writes a page, whole or not at all, and returns its path."""
    with whole_file(path) as draft:
        # A program may hold lone surrogates, which no encoding takes: they become character references.
        draft.write_bytes(text.encode("utf-8", errors="xmlcharrefreplace"))
    return Path(path)


def _asset(name: str) -> str:
    return (files("distributed.report") / "assets" / name).read_text(encoding="utf-8")
