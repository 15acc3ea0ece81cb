"""docs/runbook.md as an HTML page, to which the verdict and the alerts link.

In: the Markdown used in the runbook: headings, paragraphs, tables, lists, fenced code, comments,
links, inline code and emphasis. Out: HTML with an anchor for every heading. Pure; other
Markdown stays plain text. All text is escaped.
"""

import re
from html import escape

_INLINE = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w*])\*([^*]+)\*"), r"<em>\1</em>"),
    (re.compile(r"\[([^\]]+)\]\((#[\w-]+)\)"), r'<a href="\2">\1</a>'),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),  # another file of docs/, which is not served
)
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


def anchor(heading: str) -> str:
    """Return a heading's anchor, as on GitHub."""
    return re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")


def to_html(markdown: str) -> str:
    """Render the blocks of a page."""
    blocks = re.split(r"\n{2,}", _COMMENT.sub("", markdown).strip())
    return "\n".join(map(_block, _whole_code(blocks)))


def _whole_code(blocks: list[str]) -> list[str]:
    """Join fenced code that was split at empty lines."""
    joined: list[str] = []
    for block in blocks:
        if joined and joined[-1].count("```") % 2:
            joined[-1] += f"\n\n{block}"
        else:
            joined.append(block)
    return joined


def _block(block: str) -> str:
    lines = block.strip().split("\n")
    if lines[0].startswith("```"):
        code = "\n".join(lines[1:-1])
        return f"<pre>{escape(code)}</pre>"
    if heading := re.match(r"(#+) (.*)", lines[0]):
        level, text = len(heading[1]), heading[2]
        head = f'<h{level} id="{anchor(text)}">{_line(text)}</h{level}>'
        return head + (_block("\n".join(lines[1:])) if lines[1:] else "")
    if lines[0].startswith("|"):
        return _table(lines)
    if re.match(r"[-*] |\d+\. ", lines[0]):
        items = re.split(r"\n(?=[-*] |\d+\. )", block)
        return "<ul>" + "".join(f"<li>{_line(re.sub(r'^([-*]|[0-9]+[.]) ', '', item))}</li>" for item in items) + "</ul>"  # fmt: skip
    return f"<p>{_line(block)}</p>"


def _table(lines: list[str]) -> str:
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines]
    head = "".join(f'<th scope="col">{_line(cell)}</th>' for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_line(cell)}</td>" for cell in row) + "</tr>" for row in rows[2:]
    )
    return f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _line(text: str) -> str:
    html = escape(text.strip().replace("\\|", "|"))
    for pattern, replacement in _INLINE:
        html = pattern.sub(replacement, html)
    return html
