"""What holds for every HTML page that we write, checked in its text."""

from __future__ import annotations

from html.parser import HTMLParser


class _Reader(HTMLParser):
    """Collects the elements of a page, each with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def check_page(text: str) -> None:
    """Assert that a page needs no other file or host, and says in words what it shows in pictures."""
    reader = _Reader()
    reader.feed(text)
    elements = reader.elements
    tags = [tag for tag, _ in elements]
    assert dict(elements)["html"] == {"lang": "en"}
    assert "<title></title>" not in text and tags.count("title") >= 1 and tags.count("h1") == 1
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in elements
    assert not {"link", "iframe", "base", "object", "embed"} & set(tags)
    for tag, attributes in elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), f"{tag} refers to {attributes[name]}"
        if tag == "img":
            assert attributes.get("alt"), "a picture without a text for those who do not see it"
        if tag == "svg":
            assert attributes.get("role") == "img" and attributes.get("aria-label")
        if tag == "th":
            assert attributes.get("scope") in ("row", "col")
        if "scroll" in (attributes.get("class") or "").split():
            assert attributes.get("tabindex") == "0" and attributes.get("aria-label"), "keys cannot scroll it"
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    figures = sum(tag == "table" and attributes.get("class") != "painted" for tag, attributes in elements)
    for kind in ("csv", "tex"):
        files = [a["download"] or "" for tag, a in elements if tag == "a" and "download" in a]
        assert sum(name.endswith(f".{kind}") for name in files) >= figures, f"a table without its .{kind}"
