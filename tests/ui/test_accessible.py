"""Keyboard and screen reader: every control has a name, text can be read in both themes, the focus can be seen."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from tests.ui.browser import TABS, open_tab, running_studio

NAMELESS = """() => {
    const seen = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true })
        && e.getClientRects().length;
    const text = (e) => (e?.innerText ?? e?.textContent ?? "").trim();
    const named = (e) => e.getAttribute("aria-label")?.trim() || e.title?.trim() || text(e)
        || (e.getAttribute("aria-labelledby") ?? "").split(/\\s+/)
            .map((id) => text(document.getElementById(id))).join("")
        || [...(e.labels ?? [])].map(text).join("") || e.querySelector?.("img[alt]:not([alt=''])")?.alt;
    const what = "button, a[href], input:not([type=hidden]), select, textarea, summary, [role=button], [role=tab], "
        + "[role=slider], [role=listbox], [role=combobox]";
    return [...document.querySelectorAll(what)].filter((e) => seen(e) && !named(e))
        .map((e) => `${e.closest("[id]")?.id}: ${e.outerHTML.slice(0, 120)}`);
}"""
"""Controls in sight that a screen reader has no name for."""

FAINT = """() => {
    const numbers = (color) => {
        const [r, g, b, ...rest] = (color.match(/[\\d.]+/g) ?? []).map(Number);
        return color.startsWith("color(") ? [255 * r, 255 * g, 255 * b, ...rest] : [r, g, b, ...rest];
    };
    const over = ([r, g, b, a = 1], [R, G, B]) => [a * r + (1 - a) * R, a * g + (1 - a) * G, a * b + (1 - a) * B];
    const behind = (e) => {
        if (!e) return [255, 255, 255];
        const color = numbers(getComputedStyle(e).backgroundColor);
        const further = behind(e.parentElement);
        return color[0] === undefined || color[3] === 0 ? further : over(color, further);
    };
    const light = (color) => color.slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
    const faint = new Map();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const e = walk.currentNode.parentElement, style = getComputedStyle(e);
        if (!walk.currentNode.data.trim() || !e.checkVisibility({ visibilityProperty: true })) continue;
        if (e.closest("script, style, svg, [disabled], [aria-disabled=true], .sr-only")) continue;
        if (!e.getClientRects().length) continue;
        const back = behind(e), two = [over(numbers(style.color), back), back].map(light);
        const contrast = (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
        if (contrast < (large ? 3 : 4.5) - 0.01) {
            faint.set(`${e.tagName}.${e.className}`.slice(0, 80), `${contrast.toFixed(2)} ${e.innerText.slice(0, 40)}`);
        }
    }
    return [...faint].map((pair) => pair.join(": "));
}"""
"""Texts whose contrast to what is behind them is below WCAG 2.2's level AA, one for each kind."""

MARKED = """() => {
    const e = document.activeElement;
    const look = (one) => {
        const { outlineStyle, outlineWidth, boxShadow, borderColor, backgroundColor, textDecorationLine } =
            getComputedStyle(one);
        return [outlineStyle !== "none" && outlineWidth, boxShadow, borderColor, backgroundColor, textDecorationLine]
            .join("|");
    };
    if (e === document.body) return { name: "", seen: true };  // behind the last one
    const line = [e, e.parentElement, e.parentElement.parentElement];
    const focused = line.map(look);
    e.blur();
    const plain = line.map(look);
    e.focus();
    return { name: `${e.closest("[id]")?.id}: ${e.outerHTML.slice(0, 100)}`, seen: focused.join() !== plain.join() };
}"""
"""Whether what has the focus looks otherwise than without it, itself or the frame around it."""


@pytest.fixture(scope="module")
def standing(tmp_path_factory, visitor):
    """Gives a fresh studio's page in a language and theme; each stands for all tests, which change nothing."""
    with running_studio(tmp_path_factory.mktemp("fresh") / "data") as studio:
        looks = (("en", False), ("en", True), ("ja", False))
        pages = {look: visitor.visit(studio.url, language=look[0], dark=look[1]) for look in looks}

        def page_of(tab, language="en", *, dark=False):
            page = pages[language, dark]
            open_tab(page, tab)
            return page

        yield page_of
        for page in pages.values():
            page.context.close()


def unfolded(page):
    # Handles: a locator's number would be another one's as soon as the first is open.
    for closed in page.locator(".label-wrap:not(.open)").filter(visible=True).element_handles():
        closed.click()
    page.wait_for_timeout(700)
    return page


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("tab", TABS)
def test_every_control_has_a_name(standing, language, tab):
    assert unfolded(standing(tab, language)).evaluate(NAMELESS) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("tab", TABS)
def test_every_text_can_be_read(standing, tab, dark):
    assert unfolded(standing(tab, dark=dark)).evaluate(FAINT) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("tab", TABS)
def test_the_focus_can_be_seen(standing, tab, dark):
    page = standing(tab, dark=dark)
    unseen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        found = page.evaluate(MARKED)
        if not found["seen"]:
            unseen.append(found["name"])
    assert unseen == []
