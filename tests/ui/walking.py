"""How the tests walk the studio: a person who types, clicks and reads, in one of its languages.

Everything is found by the ids and the words that a person's page has; nothing reaches into the server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from lib_lora.i18n.words import Words
from lib_lora.ui.train.options import KNOWN
from tests.ui.browser import ROOT, Visitor, open_tab

PATIENCE_MS = 180_000
PICTURES = sorted((ROOT / "lib_lora" / "demo" / "pictures").glob("*.png"))[:6]
FOREIGN_SIGNS = ("Traceback", "Error:", "KeyError", "ValueError", "site-packages", "{", "NoneType")
"""What no sentence for a person contains."""
LATIN_WORDS = re.compile(r"\b(?:the|is|are|not|and|there|file|choose|cannot|name)\b", re.IGNORECASE)
JAPANESE = re.compile(r"[぀-ヿ一-鿿]")

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Walker:
    """A person in front of one page of the studio."""

    page: Page
    language: str

    @property
    def words(self) -> Words:
        return Words(self.language)

    def at(self, name: str) -> Locator:
        """Return a widget by its element id without ``atelier_``."""
        return self.page.locator(f"#atelier_{name}").first

    def box(self, name: str) -> Locator:
        """Return the field of a widget in which one types; of a slider that with the number."""
        kinds = "textarea, input:not([type=range]):not([type=file]):not([type=checkbox])"
        return self.at(name).locator(kinds).first

    def type(self, name: str, text: str) -> None:
        """Type into a field and leave it, as the Tab key does."""
        self.box(name).fill(text)
        self.box(name).press("Tab")

    def press(self, name: str) -> None:
        """Press a button."""
        self.at(name).click()

    def open(self, name: str) -> None:
        """Open an accordion."""
        self.at(name).locator(".label-wrap").first.click()
        self.page.wait_for_timeout(300)  # gradio 6 builds only now what is in it

    def bench(self, name: str) -> None:
        """Open a tab of the Workshop: blocks, merge or metadata."""
        label = re.escape(self.words(f"workshop.tab_{name}"))
        self.at("workshop_tabs").locator(
            ":is(.tab-nav, [role=tablist]) button", has_text=re.compile(rf"^\s*{label}\s*$")
        ).first.click()

    def choose(self, name: str, entry: str, *, own: bool = False) -> None:
        """Choose an entry of a list; ``own``: one that is not in it."""
        box = self.at(name).locator("input").first
        box.click()
        box.fill(entry)
        if own:
            box.press("Enter")
        else:
            # In sight: gradio 6 can leave the list of a field behind whose tab was left at once.
            entries = self.page.locator(":is(ul.options, ul.option-list) li").filter(visible=True)
            entries.filter(has_text=re.compile(rf"^\W*{re.escape(entry)}\s*$")).first.click()
        box.press("Tab")

    def reads(self, name: str, text: str | re.Pattern[str]) -> None:
        """Wait until a part of the page shows a text."""
        expect(self.at(name)).to_contain_text(text)

    def said(self, name: str) -> str:
        """Wait for a message in a part of the page, and return it once it was proven to be words for a person."""
        message = self.at(name).locator(".atelier-message").first
        expect(message).to_be_visible()
        text = message.inner_text()
        self.check_words(text)
        return text

    def check_words(self, text: str) -> None:
        """Prove that a message is in the page's language and holds nothing of a program's insides."""
        assert text.strip()
        assert not [sign for sign in FOREIGN_SIGNS if sign in text], text
        if self.language == "ja":
            assert JAPANESE.search(text), text
            # Names of files and folders are in whatever language they are.
            bare = re.sub(r"\S*[/.\\_]\S*", "", text)
            assert not LATIN_WORDS.search(bare), text
        else:
            assert not JAPANESE.search(text), text

    def draws_quickly(self, prompt: str) -> None:
        """Let a run's samples take two steps, by an option that the search finds: nobody looks at what they show."""
        self.open("train_more")
        label = self.words.said(KNOWN["sample_prompts"].label)
        self.at("train_more").locator(".atelier-find [type=search]").fill(label)
        self.type("train_sample_prompts_option", f"{prompt} --s 2")
        self.reads("train_changes", label)

    def prompt_reads(self, pattern: str) -> str:
        """Wait until Generate's prompt matches, and return it."""
        expect(self.box("generate_prompt")).to_have_value(re.compile(pattern))
        return self.box("generate_prompt").input_value()

    def drop_pictures(self, files: list[Path], *, name: str = "train_files") -> None:
        """Drop files onto a place for them."""
        self.at(name).locator("input[type=file]").first.set_input_files(files)

    def generate(self, steps: int = 8) -> None:
        """Press Generate and wait for a new finished picture."""
        self.type("generate_steps", str(steps))
        picture = self.at("generate_gallery").locator("img").first
        before = picture.get_attribute("src") if picture.count() else None
        self.press("generate_go")
        if before:
            expect(picture).not_to_have_attribute("src", before)
        expect(picture).to_be_visible()
        expect(self.at("generate_status").locator(".atelier-good")).to_be_visible()

    def again(self, url: str) -> Walker:
        """Close the page and open the studio anew, as the same person."""
        context = self.page.context
        self.page.close()
        return arrive(context.new_page(), url, self.language)


def visit(visitor: Visitor, url: str, language: str, *, tab: str = "") -> Walker:
    """Open the studio as a new person with a browser of that language."""
    page = visitor.visit(url, language=language, tab=tab)
    page.set_default_timeout(PATIENCE_MS)
    return Walker(page, language)


def arrive(page: Page, url: str, language: str, *, tab: str = "") -> Walker:
    """Open the studio in a page that is there, and return once its scripts run."""
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    expect(page.locator(".atelier-theme")).not_to_be_empty()
    if tab:
        open_tab(page, tab)
    return Walker(page, language)
