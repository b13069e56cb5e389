# SPDX-License-Identifier: Apache-2.0
# The documents as a book: every link leads somewhere, and the table of contents has every page.
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "docs").glob("*.md"))


class Book(unittest.TestCase):
    def test_links_lead_somewhere(self):
        links = [(page, link) for page in [*PAGES, ROOT / "README.md"] for link in re.findall(r"\]\(([^)#]+)\)", page.read_text())]
        self.assertGreater(len(links), 20)
        for page, link in links:
            with self.subTest(page=page.name, link=link):
                self.assertTrue(link.startswith("https://") or (page.parent / link).exists())

    def test_the_table_of_contents_has_every_page(self):
        contents = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/README.md").read_text()))
        self.assertEqual(contents, {page.name for page in PAGES} - {"README.md"})

    def test_documents_named_in_text_exist(self):
        for page in [*PAGES, ROOT / "README.md"]:
            for name in re.findall(r"`((?:docs|tools|tests)/[\w/.-]+\.\w+)`", page.read_text()):
                with self.subTest(page=page.name, name=name):
                    self.assertTrue((ROOT / name).exists())


if __name__ == "__main__":
    unittest.main()
