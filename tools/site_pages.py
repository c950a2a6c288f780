"""Pages of the site that are made of other files; a hook of mkdocs (``make docs``).

- ``reference/commands.md`` from the command line's help, by :mod:`vos.cli.manual`;
- ``tour.md`` from the notebook ``tour.ipynb``;
- copies of the pages that stand elsewhere in the tree (``ELSEWHERE``).

Links between pages are written for the tree, so that they work where the tree is read. Those that
leave ``docs/`` are turned to the copies; what has no page on the site keeps its text alone.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import vos
from vos.cli import manual

ROOT: Final = Path(__file__).resolve().parents[1]
ELSEWHERE: Final = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "vos/sam/weights/nano.md": "nano.md",
}
"""Pages outside ``docs/``, by their path in the tree, and their path on the site."""

MADE: Final = {"docs/tour.ipynb": "tour.md"}
"""Files whose page on the site is made of them."""

SCHEMA: Final = "docs/reference/summary.schema.json"
SCHEMA_MARK: Final = "<!-- table of summary.schema.json -->"

COMMANDS_INTRODUCTION: Final = """# Commands

`vos-run` is short for `vos run`, `vos-eval` for `vos eval`. `vos COMMAND --help` prints the same
text as this page, and `vos man --install` writes it as manual pages. Exit codes: 0 done, 1 bad
input, 2 a wrong option, 130 interrupted.
"""

_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_ROLE: Final = re.compile(r":(?:func|meth|class|mod|data|attr):(?=<code>)")
_CODE: Final = re.compile("<code>([^<\n]*)</code>")
_LONG_NAME: Final = re.compile(r"\w{24,}")
_OPTION: Final = re.compile(r"(?<!\S)--?[a-z][a-z-]*")
_WHOLE: Final = r'<span class="option">\g<0></span>'
_MAX_OUTPUT_LINES: Final = 40


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    pages = {"reference/commands.md": commands_page(manual.pages())}
    notebook = Path(config.docs_dir, "tour.ipynb")
    pages["tour.md"] = notebook_page(json.loads(notebook.read_text(encoding="utf-8")))
    for source, target in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        pages[target] = relinked(text, posixpath.dirname(source), target)
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that leave ``docs/``, and hold the reference of Python against the package."""
    path = page.file.src_uri
    if path == "reference/python.md":
        shown = set(re.findall(r"^::: vos\.(\w+)$", markdown, re.MULTILINE))
        if missing := set(vos.__all__) - shown:
            raise PluginError(f"{path} lacks {', '.join(sorted(missing))}")
    if page.file.generated_by is not None:
        return markdown
    if SCHEMA_MARK in markdown:
        schema = json.loads((ROOT / SCHEMA).read_text(encoding="utf-8"))
        markdown = markdown.replace(SCHEMA_MARK, "\n\n".join(schema_tables(schema)))
    return relinked(markdown, posixpath.dirname(f"docs/{path}"), path)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Drop Sphinx' roles, which docstrings have before names, and break code at good points."""
    return _CODE.sub(_with_breaks, _ROLE.sub("", html))


def _with_breaks(code: re.Match[str]) -> str:
    """Let a browser break long names after underscores, and no option after its hyphens."""
    text = _LONG_NAME.sub(lambda name: name[0].replace("_", "_<wbr>"), code[1])
    return f"<code>{_OPTION.sub(_WHOLE, text)}</code>"


def relinked(markdown: str, folder: str, page: str) -> str:
    """Turn the links of a text to pages of the site.

    Args:
        markdown: The text.
        folder: Where the text stands in the tree.
        page: Its path on the site.
    """

    def turn(match: re.Match[str]) -> str:
        mark, text, link = match.groups()
        path, hash_sign, anchor = link.partition("#")
        if not path or re.match(r"[a-z]+:", link):
            return match[0]
        in_tree = posixpath.normpath(posixpath.join(folder, path))
        if not (ROOT / in_tree).exists():
            raise PluginError(f"{page}: there is no {in_tree}")
        target = ELSEWHERE.get(in_tree) or MADE.get(in_tree)
        if target is None:
            if not in_tree.startswith("docs/"):
                return text
            target = in_tree.removeprefix("docs/")
        relative = posixpath.relpath(target, posixpath.dirname(page) or ".")
        return f"{mark}[{text}]({relative}{hash_sign}{anchor})"

    return _LINK.sub(turn, markdown)


def commands_page(pages: Iterator[manual.Page]) -> str:
    """Give the help of all commands as one page."""
    parts = [COMMANDS_INTRODUCTION]
    for page in pages:
        parts.append(f"\n## {page.name}\n\n```text\n{page.name} {page.arguments}\n```\n")
        for paragraph in page.paragraphs:
            if paragraph.keeps_lines:
                lines = paragraph.text.splitlines()
                parts.append("```sh\n" + "\n".join(line.strip() for line in lines) + "\n```\n")
            else:
                parts.append(f"{_plain(paragraph.text)}\n")
        for heading, records in page.groups.items():
            parts.append(f"**{heading}**\n")
            parts += [f"`{term}`\n:   {_plain(meaning)}\n" for term, meaning in records]
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Keep text from being read as Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text)


def schema_tables(schema: dict[str, Any], name: str = "the document") -> Iterator[str]:
    """Give a table for each object of a JSON schema, the outermost first."""
    rows = ["| key | type | meaning |", "| --- | --- | --- |"]
    inner = []
    for key, value in schema["properties"].items():
        kinds = value.get("type", "object")
        kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
        optional = "" if key in schema["required"] or "if" in schema else ", optional"
        rows.append(f"| `{key}` | {kind}{optional} | {value.get('description', '')} |")
        part = value.get("items", value)
        if "properties" in part and part.get("description"):
            inner.append((part, f"{key}[]" if "items" in value else key))
    yield f"**{'The document' if name == 'the document' else f'`{name}`'}**"
    yield "\n".join(rows)
    for part, key in inner:
        prefix = "" if name == "the document" else f"{name}."
        yield from schema_tables(part, f"{prefix}{key}")


def notebook_page(notebook: dict[str, Any]) -> str:
    """Give a notebook as a page, with what its cells printed and drew."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            text = "".join(output.get("text") or data.get("text/plain", ""))
            if "image/png" in data:
                parts.append(f"![](data:image/png;base64,{''.join(data['image/png']).strip()})")
            elif text:
                lines = text.rstrip().splitlines()[:_MAX_OUTPUT_LINES]
                parts.append("```text\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(parts) + "\n"
