"""The runbook as a page: our Markdown, escaped, with anchors that the verdicts lead to."""

import re

import pytest

from receiver import share
from receiver.status.runbook import to_html
from receiver.status.verdicts import State, anchor

PAGE = """\
# Run <book>

A *first* `a<b` line,
and [more](#blocked), [elsewhere](http-api.md).

<!-- generated: x -->

| a | b |
| --- | --- |
| `x \\| y` | **2** |

- one
- two

```sh
ls <here>

ls
```
"""


def test_each_block_has_its_form() -> None:
    """Headings, paragraphs, tables, lists, code; what is from another file is its text."""
    html = to_html(PAGE)
    assert '<h1 id="run-book">Run &lt;book&gt;</h1>' in html
    assert "<p>A <em>first</em> <code>a&lt;b</code> line,\nand" in html
    assert '<a href="#blocked">more</a>, elsewhere.</p>' in html
    assert '<th scope="col">a</th>' in html
    assert "<td><code>x | y</code></td><td><strong>2</strong></td>" in html
    assert "<ul><li>one</li><li>two</li></ul>" in html
    assert "<pre>ls &lt;here&gt;\n\nls</pre>" in html
    assert "generated" not in html


@pytest.mark.parametrize("state", State)
def test_each_verdict_leads_somewhere(state: State) -> None:
    """In the runbook that ships."""
    ids = re.findall(r'id="([^"]+)"', to_html(share.read("runbook.md")))
    assert anchor(state) in ids
