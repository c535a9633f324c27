"""What the documentation shows is run, and must print what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from .support import Cluster

PAGES = sorted((Path(__file__).parents[3] / "docs").glob("clients*.md"))
# A block of Python, and what it prints if the page says so.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
BLOCKS = [block for page in PAGES for block in BLOCK.findall(page.read_text())]


@pytest.fixture(scope="module", autouse=True)
def pools(cluster: Cluster) -> None:
    """Those of the page; "empty" is there already."""
    cluster.pool("agents", "box", 1)


def test_the_page_has_blocks() -> None:
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize(("code", "expected"), BLOCKS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_block(code: str, expected: str) -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "the page", "exec"), {"__name__": "__main__"})
    if expected:
        assert output.getvalue() == expected
