"""The built manual: nothing of it is far, missing or elsewhere, and its search finds things.

python -m sphinx -W --keep-going -n docs build/docs
ONEPASS_SITE=build/docs python -m pytest tests/documents/test_manual_site.py
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

pytest.importorskip("manual", reason="the manual is not part of an installed wheel")

from manual.gallery import examples
from manual.names import public_names

SITE = Path(os.environ.get("ONEPASS_SITE", "")).resolve()

pytestmark = pytest.mark.skipif(
    "ONEPASS_SITE" not in os.environ, reason="ONEPASS_SITE names no built manual"
)


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to by."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors, self.without_alt = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if found.get("id"):
            self.anchors.add(found["id"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in ("script", "img", "source", "iframe") and found.get("src"):
            self.loads.append(found["src"])
        if tag == "link" and "stylesheet" in found.get("rel", ""):
            self.loads.append(found["href"])
        if tag == "img" and not found.get("alt"):
            self.without_alt.append(found.get("src"))


@cache
def pages():
    """Name from the site's folder -> Page."""
    return {
        str(path.relative_to(SITE)): Page(path.read_text(encoding="utf-8"))
        for path in SITE.rglob("*.html")
        if "_static" not in path.parts
    }


def target(page, link):
    """(page or file from the site's folder, anchor) of a link within the site."""
    path, anchor = urldefrag(link)
    file = (SITE / page).parent / unquote(path) if path else SITE / page
    return str(Path(os.path.normpath(file)).relative_to(SITE)), unquote(anchor)


def outside(link):
    return re.match(r"(https?:)?//|mailto:|data:", link)


def test_every_link_and_anchor_leads_somewhere():
    wrong = []
    for name, page in pages().items():
        for link in page.links:
            if not outside(link):
                file, anchor = target(name, link)
                there = (SITE / file).is_file()
                if not there or (anchor and file in pages() and not _has(file, anchor)):
                    wrong.append(f"{name}: {link}")
    assert wrong == []


def _has(file, anchor):
    return anchor in pages()[file].anchors


def test_nothing_is_loaded_from_elsewhere():
    for name, page in pages().items():
        assert [link for link in page.loads if outside(link)] == [], name
        missing = [
            link for link in page.loads if not (SITE / target(name, link.split("?")[0])[0]).exists()
        ]
        assert missing == [], name
    for sheet in SITE.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", text), sheet


def test_pictures_say_what_they_show():
    assert {name: page.without_alt for name, page in pages().items() if page.without_alt} == {}


def test_every_page_is_two_clicks_from_the_front():
    reached, now = {"index.html"}, {"index.html"}
    for _ in range(2):
        now = {
            target(name, link)[0]
            for name in now
            for link in pages()[name].links
            if not outside(link)
        } & {*pages()} - reached
        reached |= now
    assert {*pages()} - reached <= {"genindex.html", "search.html", "py-modindex.html"}


def test_every_public_name_and_example_is_a_page():
    for full in public_names():
        assert full in pages()[f"reference/{full}.html"].anchors
    for one in examples():
        assert f"gallery/{one.name}.html" in pages()


def test_formulas_are_set_by_what_lies_in_the_site():
    source = (SITE / "reference" / "onepass.kernels.adam_step.html").read_text(encoding="utf-8")
    assert r"\frac{\mathrm{lr}\,\hat{m}}{\sqrt{\hat{v}} + \varepsilon}" in source
    assert "_static/mathjax/tex-svg.js" in source
    assert (SITE / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 1_000_000
    assert (SITE / "_static" / "mathjax" / "LICENSE").exists()


@cache
def index():
    text = (SITE / "searchindex.js").read_text(encoding="utf-8")
    return json.loads(re.fullmatch(r"Search\.setIndex\((.*)\);?\s*", text, re.DOTALL)[1])


def found(*stems):
    """Pages that have all of these words, as the search's index has them."""
    names = index()["docnames"]

    def of(stem):
        numbers = set()
        for table in ("terms", "titleterms"):
            entry = index()[table].get(stem, [])
            numbers |= {entry} if isinstance(entry, int) else {*entry}
        return numbers

    return {names[number] for number in set.intersection(*map(of, stems))}


def test_search_finds_what_people_look_for():
    assert {"course", "reference/onepass.nets.AdamW"} <= found("weight", "decay")
    assert {"course", "reference/onepass.kernels.momentum_step"} <= found("momentum")
    assert {"install", "reference/onepass.DeviceUnavailableError"} <= found(
        "deviceunavailableerror"
    )
    assert found("nosuchword") == set()
