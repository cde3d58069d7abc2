"""What mkdocs does before it builds: the pages that stand at the top of the repository are pages of the site, too.

They are read from where they are, so there is one source of each. Links name files of the repository; here they are
turned into links of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "NOTICE": "NOTICE.md",
    "models/README.md": "MODELS.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r'(\]\(|src(?:set)?=")([\w./-]+)')


def on_files(files: Any, config: Any) -> Any:
    for source, target in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        content = text if source.endswith(".md") else f"# {source}\n\n```text\n{text}\n```\n"
        files.append(File.generated(config, target, content=content))
    return files


def site_path(path: str) -> str | None:
    """Return where a file of the repository is on the site, or None if it is no part of the site."""
    return PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)


def on_page_markdown(text: str, page: Any, **_: Any) -> str:
    """Return a page with its links to other files of the repository as they are on the site. Of others mkdocs warns."""
    here = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(here, f"docs/{here}"))

    def on_site(link: re.Match[str]) -> str:
        target = site_path(posixpath.normpath(posixpath.join(folder, link[2])))
        return link[1] + (posixpath.relpath(target, posixpath.dirname(here) or ".") if target else link[2])

    return LINK.sub(on_site, text)
