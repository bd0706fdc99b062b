"""The book's links: `mdbook build` calls this as a preprocessor; `book.py check FOLDER` looks at what was built.

Pages link to files of the repository that are not in the book (`../examples/..`), as readers of the repository need it. In the
book such a link leads to the repository, if PODPACE_REPOSITORY names where its files are shown
(https://HOST/OWNER/podpace/blob/main), and else is its text only.
"""

import json
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

REPOSITORY = os.environ.get("PODPACE_REPOSITORY", "").rstrip("/")
OUTSIDE = re.compile(r"\[([^\]\n]*)\]\(\.\./([^)\s]*)\)")


def replaced(match):
    text, path = match.groups()
    return f"[{text}]({REPOSITORY}/{path})" if REPOSITORY else text


def preprocess(items):
    for item in items:
        if isinstance(item, dict) and "Chapter" in item:
            chapter = item["Chapter"]
            chapter["content"] = OUTSIDE.sub(replaced, chapter["content"])
            preprocess(chapter["sub_items"])


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def check(folder):
    """Number of links to pages, files or headings that are not there."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    dead = 0
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or target == "/":
                continue
            file = (path.parent / target).resolve() if target else path
            if not file.exists() or (anchor and file in pages and anchor not in pages[file].ids):
                print(f"{path.name}: a dead link to {link}")
                dead += 1
    print(f"{len(pages)} pages, {sum(len(page.links) for page in pages.values())} links, {dead} dead")
    return dead if pages else 1


def main():
    if sys.argv[1:2] == ["check"]:
        sys.exit(min(check(Path(sys.argv[2])), 1))
    if sys.argv[1:2] == ["supports"]:
        sys.exit(0)
    _, book = json.load(sys.stdin)
    preprocess(book.get("items", book.get("sections", [])))
    json.dump(book, sys.stdout)


if __name__ == "__main__":
    main()
