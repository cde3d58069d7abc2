"""What mkdocs does before it builds: the pages that stand at the top of the repository are pages of the site, too.

They are read from where they are, so there is one source of each; links in them are to be right in either place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "models/README.md": "MODELS.md",
}


def on_files(files: Any, config: Any) -> Any:
    for source, target in PAGES.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(text: str, **_: Any) -> str:
    """Return a page with its links to other pages as they are on the site."""
    for source, target in PAGES.items():
        text = text.replace(f"]({source})", f"]({target})").replace(f"](../{source})", f"]({target})")
    return re.sub(r'(\]\(|src(?:set)?=")docs/', r"\1", text)
