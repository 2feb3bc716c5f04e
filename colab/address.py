"""Carries the repository's address from setup.py into notebooks, badges and README.

    python colab/address.py

Run it after `URL` in setup.py has changed; the tests hold all places to it. Without an address
there are no badges, and the notebooks ask for a copy of the project.
"""

import json
import re
from pathlib import Path

_SOURCE = re.compile(r'^SOURCE = ".*"$', re.MULTILINE)
_BADGES = re.compile(r"<!-- badges -->.*?<!-- end of badges -->\n\n", re.DOTALL)
_IMAGE = "https://colab.research.google.com/assets/colab-badge.svg"
_GITHUB = "https://github.com/"


def badge(url: str, notebook: str) -> str:
    """A link that opens a notebook in Colab; empty without an address on GitHub."""
    if not url.startswith(_GITHUB):
        return ""
    name = url.removeprefix(_GITHUB).removesuffix(".git").strip("/")
    address = f"https://colab.research.google.com/github/{name}/blob/main/colab/{notebook}"
    return f"[![{notebook.removesuffix('.ipynb')} in Colab]({_IMAGE})]({address})"


def with_badges(url: str, text: str, notebooks: list[str]) -> str:
    """A page in Markdown with badges below its first heading, or without any."""
    text = _BADGES.sub("", text)
    badges = "\n".join(filter(None, (badge(url, name) for name in notebooks)))
    if not badges:
        return text
    heading, rest = text.split("\n\n", 1) if "\n\n" in text else (text, "")
    return f"{heading}\n\n<!-- badges -->\n{badges}\n<!-- end of badges -->\n\n{rest}"


def carry(root: Path) -> None:
    """Rewrites notebooks, colab/README.md and README.md of a checkout."""
    (url,) = re.findall(r'^URL = "(.*)"', (root / "setup.py").read_text("utf-8"), re.MULTILINE)
    notebooks = sorted((root / "colab").glob("*.ipynb"))
    for path in notebooks:
        content = json.loads(path.read_text("utf-8"))
        title, first = content["cells"][:2]
        title["source"] = _lines(with_badges(url, "".join(title["source"]), [path.name]))
        first["source"] = _lines(_SOURCE.sub(f'SOURCE = "{url}"', "".join(first["source"])))
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for page in (root / "README.md", root / "colab" / "README.md"):
        text = with_badges(url, page.read_text("utf-8"), [path.name for path in notebooks])
        page.write_text(text, "utf-8")


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    carry(Path(__file__).resolve().parent.parent)
