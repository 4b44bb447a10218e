"""The admin's page in a real browser: shows figures, works by keyboard, and runs nothing that was asked."""

import os
import re
from pathlib import Path

import pytest

from binary_semantic_cache.proxy.settings import CacheSettings, ProxySettings
from binary_semantic_cache.text.budget import Budget
from browser import Browser, chromium
from watched import TOKEN, Watched, serving

STATIC = Path(__file__).parents[1] / "python/binary_semantic_cache/proxy/admin/static"
GIT = "How do I undo the last commit in git?"
GIT_TOO = "How can I undo the last commit in git?"
FRANCE = "What is the capital of France?"
SPAIN = "What is the capital of Spain?"
HOSTILE = (
    "<img src=x onerror='window.ran=1'><script>window.ran=1</script><svg onload='window.ran=1'>"
    "</td></table><style>*{display:none}</style><a href='javascript:window.ran=1'>"
    '&quot;onclick="window.ran=1"'
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if chromium() is None:
        if os.environ.get("BSC_REQUIRE_BROWSER") == "1":
            pytest.fail("chromium is not installed: apt-get install chromium")
        pytest.skip("chromium is not installed (BSC_REQUIRE_BROWSER=1 makes this a failure)")
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def watched():
    made = Watched(
        settings=ProxySettings(cache=CacheSettings(prices={"m-1": (3.0, 15.0)})), budget=Budget(sample=1e-9)
    )
    for name, rights in (("m-2", [False] * 8), ("m-3", [True] * 20 + [False])):
        for right in rights:
            made.cache.budget.judged(name, right=right)
    made.put(GIT, tags=["docs"])
    made.put(FRANCE, tags=["docs"])
    for text in (GIT, GIT_TOO, SPAIN, HOSTILE):
        made.ask(text)
    return made


@pytest.fixture
def url(watched):
    with serving(watched.app) as address:
        yield address


@pytest.fixture
def page(browser, url):
    opened = browser.page()
    log_in(opened, url)
    return opened


def log_in(page, url):
    page.open(f"{url}/")
    page.until("document.activeElement.id === 'token'")
    page.type(TOKEN)
    page.press("Enter")
    page.until("Number(document.body.dataset.shown) > 0")


def text(page, selector):
    return page.value(f"document.querySelector({selector!r}).innerText")


def focus(page, selector):
    """Puts the focus there, as many presses of Tab would; that Tab gets there is a test of its own."""
    page.value(f"document.querySelector({selector!r}).focus()")


def explain_button(number):
    return f'[aria-label="Explain request {number}"]'


def test_a_wrong_token_is_refused_in_words_and_the_right_one_opens_the_page(browser, url):
    page = browser.page()
    page.open(f"{url}/")
    page.until("document.activeElement.id === 'token'")
    page.type("wrong")
    page.press("Enter")
    page.until("document.querySelector('#refused')?.textContent && document.activeElement.id === 'token'")
    assert text(page, "#refused") == "That is not the admin token of this proxy."
    page.type(TOKEN)
    page.press("Enter")
    page.until("Number(document.body.dataset.shown) > 0")
    assert page.value("document.cookie") == ""


def test_the_figures_appear(page):
    tiles = text(page, "#tiles")
    assert re.search(r"Hit rate\s+50.0 %\s+2 of 4 requests", tiles)
    assert re.search(r"Time saved\s+3 s", tiles)
    assert re.search(r"Tokens saved\s+84", tiles)
    assert re.search(r"Entries\s+2", tiles)
    assert "0.00097" in tiles
    assert "guard" in text(page, "#misses")
    assert "exact hit" in text(page, "#latency")
    assert page.value("document.querySelectorAll('#traffic rect.mark.exact').length") >= 1
    assert page.problems() == []


def test_what_is_new_appears_by_itself_and_what_is_open_stays_open(page, watched):
    page.click(explain_button(1))
    page.until("document.querySelector('.candidates')")
    watched.ask(FRANCE)
    page.until(f"document.querySelector('{explain_button(5)}')")
    assert page.value("document.querySelector('#recent tbody tr').innerText").count(FRANCE) == 1
    assert (
        page.value(f"document.querySelector('{explain_button(1)}').getAttribute('aria-expanded')") == "true"
    )
    assert page.value("document.querySelectorAll('tr.more').length") == 1


def test_explain_opens_and_closes_by_keyboard_and_names_the_guard(page):
    focus(page, explain_button(3))
    page.press("Enter")
    page.until("document.querySelector('.candidates table')")
    told = text(page, "tr.more")
    assert FRANCE in told
    assert "miss: guard" in told
    assert page.value(f"document.activeElement.matches('{explain_button(3)}')")
    assert page.value("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.press("Enter")
    page.until("!document.querySelector('tr.more')")
    assert page.value("document.activeElement.getAttribute('aria-expanded')") == "false"


def test_removing_shows_first_what_would_go_and_then_takes_just_that(page, watched):
    focus(page, "#remove-value")
    page.type("docs")
    page.press("Enter")
    page.until("document.querySelector('#confirm').open")
    assert text(page, "#confirm-title") == "Remove 2 answers?"
    assert GIT in text(page, "#confirm-list")
    assert FRANCE in text(page, "#confirm-list")
    page.press("Escape")
    page.until("!document.querySelector('#confirm').open")
    assert len(watched.cache) == 2

    focus(page, "#remove-value")
    page.press("Enter")
    page.until("document.querySelector('#confirm').open")
    page.click("#confirm-yes")
    page.until("document.querySelector('#told').textContent === '2 answers removed'")
    assert len(watched.cache) == 0
    page.until("document.querySelector('#audit').innerText.includes('tag:docs: 2 removed')")


def test_an_entry_can_be_removed_from_the_list(page, watched):
    page.click('[aria-label="Remove entry 1"]')
    page.until("document.querySelector('#confirm').open")
    page.click("#confirm-yes")
    page.until("!document.querySelector('[aria-label=\"Remove entry 1\"]')")
    assert [prompt for _, prompt in watched.cache.store.select()] == [FRANCE]
    assert page.problems() == []


def test_the_buttons_stay_where_they_are_when_the_explanation_comes(page):
    page.click(explain_button(2))
    page.until("document.querySelector('tr.more .candidates')")
    buttons = "document.querySelector('tr.more .buttons')"
    late = "document.querySelector('tr.more .candidates')"
    assert page.value(f"{buttons}.compareDocumentPosition({late}) & Node.DOCUMENT_POSITION_FOLLOWING") != 0


def test_a_wrong_hit_can_be_reported(page, watched):
    page.click(explain_button(2))
    page.until("document.querySelector('tr.more .buttons button')")
    page.click("tr.more .buttons button")
    page.until("document.querySelector('#confirm').open")
    assert GIT_TOO in text(page, "#confirm-list")
    page.click("#confirm-yes")
    page.until("document.querySelector('#told').textContent.startsWith('reported')")
    assert watched.ask(GIT_TOO).outcome == "miss"


def test_the_budget_is_shown_class_by_class(page):
    about = text(page, "#budget-about")
    assert "At most 2.0 % of the hits by meaning may be wrong" in about
    rows = page.value("[...document.querySelectorAll('#budget tbody tr')].map((row) => row.innerText)")
    assert re.search(r"m-2\s+stopped: exact matches only\s+8\s+8\s+100 %\s+[\d.]+ % to 100 %", rows[0])
    assert re.search(r"m-3\s+served by meaning\s+21\s+1\s+4.8 %\s+[\d.]+ % to [\d.]+ %", rows[1])


def test_a_stopped_class_is_reset_by_keyboard_after_a_question(page, watched):
    focus(page, '[aria-label="Reset the budget of m-2"]')
    page.press("Enter")
    page.until("document.querySelector('#confirm').open")
    assert text(page, "#confirm-title") == "Serve m-2 by meaning again?"
    assert "8 of 8 judged hits were wrong" in text(page, "#confirm-text")
    page.press("Escape")
    page.until("!document.querySelector('#confirm').open")
    assert watched.cache.budget.classes()["m-2"].stopped
    page.until("document.activeElement.getAttribute('aria-label') === 'Reset the budget of m-2'")

    page.press("Enter")
    page.until("document.querySelector('#confirm').open")
    focus(page, "#confirm-yes")
    page.press("Enter")
    page.until("document.querySelector('#told').textContent === 'm-2 is served by meaning again'")
    assert list(watched.cache.budget.classes()) == ["m-3"]
    page.until("document.querySelectorAll('#budget tbody tr').length === 1")
    # The button is gone: the focus stays where it was, on what is left of the list.
    page.until("document.activeElement.contains(document.querySelector('#budget'))")
    page.until("document.querySelector('#audit').innerText.includes('budget:m-2')")
    assert page.problems() == []


def test_without_a_budget_no_word_of_it_is_on_the_page(browser):
    with serving(Watched().app) as url:
        page = browser.page()
        log_in(page, url)
        assert not page.value("document.querySelector('#budget-card').checkVisibility()")


def test_clearing_wants_the_word_typed(page, watched):
    page.click("#clear button")
    page.until("document.querySelector('#confirm').open")
    assert page.value("document.querySelector('#confirm-yes').disabled")
    focus(page, "#confirm-word")
    page.press("Enter")
    assert page.value("document.querySelector('#confirm').open")
    page.type("everything")
    assert not page.value("document.querySelector('#confirm-yes').disabled")
    page.press("Enter")
    page.until("document.querySelector('#told').textContent === '2 answers removed'")
    assert len(watched.cache) == 0


def test_a_refusal_of_the_api_is_said_on_the_page(page):
    page.value("document.querySelector('#remove-by').value = 'tenant'")
    focus(page, "#remove-value")
    page.type("nobody")
    page.press("Enter")
    page.until("document.querySelector('#trouble').textContent.includes('expected a tenant')")


def test_a_hostile_prompt_is_shown_as_text_and_runs_nowhere(browser, url, watched):
    number = watched.put(HOSTILE, tags=[HOSTILE[:60]])
    watched.ask(HOSTILE)
    watched.ask(HOSTILE.upper(), tenant=HOSTILE[:40], model=HOSTILE[:40])
    page = browser.page()
    log_in(page, url)
    assert HOSTILE in page.value("document.querySelector('#recent').textContent")
    page.click(explain_button(5))
    page.until("document.querySelector('.candidates')")
    page.click(f'[aria-label="Remove entry {number}"]')
    page.until("document.querySelector('#confirm').open")
    assert HOSTILE in page.value("document.querySelector('#confirm-list').textContent")
    page.press("Escape")
    page.value(
        "document.querySelector('#remove-value').value = 'no such tag <img src=x onerror=window.ran=1>'"
    )
    focus(page, "#remove-value")
    page.press("Enter")
    page.until("document.querySelector('#confirm').open")
    assert page.value("window.ran") is None
    assert (
        page.value("document.querySelectorAll('img:not(h1 img), script:not([src]), style, iframe').length")
        == 0
    )
    assert (
        page.value("document.querySelectorAll('[onerror], [onload], [onclick], a[href^=javascript]').length")
        == 0
    )


def test_the_policy_would_stop_a_script_that_got_in_all_the_same(page):
    page.value(
        "document.body.append(Object.assign("
        "document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert page.value("window.ran") is None
    page.until("true")
    assert any("Content Security Policy" in problem for problem in page.problems())


def test_the_source_makes_no_elements_out_of_strings():
    for script in STATIC.glob("*.js"):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function",
            script.read_text(),
        )
        assert not found, script.name


def test_nothing_is_loaded_from_elsewhere(browser, page, url):
    asked = {
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
        and event["params"]["request"]["url"].startswith(url)
    }
    assert len(asked) >= 8
    for file in STATIC.iterdir():
        outside = re.findall(
            r"(?:https?:)?//[a-z][\w.-]+", file.read_text().replace("http://www.w3.org/", "")
        )
        assert not [found for found in outside if found.startswith(("http", "//cdn"))], file.name


def test_dark_is_as_the_system_says_until_somebody_chooses(browser, url):
    page = browser.page()
    page.prefer("dark")
    log_in(page, url)
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.value(background) == "rgb(14, 19, 23)"
    assert page.value("document.querySelector('#theme').getAttribute('aria-pressed')") == "true"
    page.click("#theme")
    assert page.value(background) == "rgb(244, 246, 248)"
    page.send("Page.reload")
    page.until(
        "Number(document.body.dataset.shown) > 0 && document.documentElement.dataset.theme === 'light'"
    )
    assert page.value(background) == "rgb(244, 246, 248)"


NAMES = """
[...document.querySelectorAll("button, input, select, a, summary, [role=group], [role=img], table, dialog")]
    .filter((e) => e.checkVisibility() || e.closest("dialog"))
    .filter((e) => {
        const ids = (e.getAttribute("aria-labelledby") ?? "").split(" ");
        const labelled = ids.map((id) => document.getElementById(id));
        const name = e.getAttribute("aria-label") || labelled.map((l) => l?.textContent).join("")
            || [...(e.labels ?? [])].map((l) => l.textContent).join("")
            || e.caption?.textContent || (e.matches("button, a, summary") ? e.textContent : "")
            || (e.matches("table") && e.closest("[role=group]")?.getAttribute("aria-labelledby"))
            || (e.matches("table") && e.closest("[role=group]")?.getAttribute("aria-label"));
        return !(name || "").trim();
    }).map((e) => e.outerHTML.slice(0, 200))
"""


def test_every_control_table_and_picture_has_a_name(page):
    page.click(explain_button(3))
    page.until("document.querySelector('.candidates table')")
    # The dialog has no question now, and so no label and no title.
    unnamed = [html for html in page.value(NAMES) if 'id="confirm' not in html]
    assert unnamed == []


def test_the_page_has_landmarks_one_heading_and_cells_under_headers(page):
    assert page.value("document.querySelectorAll('main').length") == 1
    assert page.value("document.querySelectorAll('h1').length") == 1
    assert page.value("document.querySelectorAll('header').length") == 1
    assert page.value("[...document.querySelectorAll('thead th')].every((th) => th.scope === 'col')")
    assert page.value("[...document.querySelectorAll('tbody th')].every((th) => th.scope === 'row')")
    assert page.value("document.documentElement.lang") == "en"
    assert page.value("document.querySelector('#told').getAttribute('aria-live')") == "polite"
    ids = page.value("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_tab_reaches_every_control_once_and_shows_where_it_is(page):
    focus(page, ".skip")
    reached = []
    for _ in range(200):
        where = page.value(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.id || e.getAttribute('aria-label') || e.textContent.trim().slice(0, 40),"
            " s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2, e === document.body]; })()"
        )
        if where[2] or (reached and where[0] == reached[0][0]):
            break
        reached.append(where)
        page.press("Tab")
    names = [name for name, *_ in reached]
    assert names[:5] == ["Skip to the figures", "minutes", "pause", "theme", "log-out"]
    assert {"outcome", "by", "remove-by", "remove-value", "Explain request 1", "Clear the cache…"} <= set(
        names
    )
    assert len(names) == len(set(names))
    assert all(is_shown for _, is_shown, _ in reached)


CONTRAST = """
(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => {
        for (let at = e; at; at = at.parentElement) {
            const colour = rgb(getComputedStyle(at).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    const poor = [];
    for (const e of document.querySelectorAll("body *")) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!own || !e.checkVisibility() || e.matches(":disabled, option")) continue;
        if (e.closest(".out-of-sight")) continue;
        const style = getComputedStyle(e);
        const front = rgb(e.closest("svg") ? style.fill : style.color);
        const [a, b] = [light(front), light(behind(e.closest("svg") ?? e))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) poor.push([e.textContent.trim().slice(0, 40), ratio]);
    }
    return poor;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_aa_wants(browser, url, scheme):
    page = browser.page()
    page.prefer(scheme)
    page.open(f"{url}/login")
    assert page.value(CONTRAST) == []
    log_in(page, url)
    page.click(explain_button(3))
    page.until("document.querySelector('.candidates table')")
    assert page.value(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
def test_nothing_sticks_out_at_any_width(browser, url, width):
    page = browser.page(width=width)
    log_in(page, url)
    page.click(explain_button(3))
    page.until("document.querySelector('.candidates table')")
    assert page.value("document.documentElement.scrollWidth") <= width
    region = "document.querySelector('#recent').parentElement"
    # Where rows are cards nothing has to be scrolled to be read; wider, a table may.
    assert width > 560 or page.value(f"{region}.scrollWidth <= {region}.clientWidth")


def test_logging_out_leads_to_the_form_and_ends_the_session(page):
    page.click("#log-out")
    page.until("location.pathname === '/login' && document.querySelector('#token')")
    assert page.value("fetch('/api/summary').then((a) => a.status)") == 401


def test_a_session_that_ended_leads_to_the_form(browser, page):
    page.send("Network.clearBrowserCookies")
    page.until("location.pathname === '/login'")


def test_a_server_that_is_gone_is_said_on_the_page(browser, watched):
    page = browser.page()
    with serving(watched.app) as url:
        log_in(page, url)
    page.until("document.querySelector('#trouble').textContent.includes('not up to date')")


def test_something_else_that_answers_in_front_is_said_on_the_page(page):
    page.value("window.fetch = async () => new Response('<h1>Bad Gateway</h1>', {status: 502}); 1")
    page.until("document.querySelector('#trouble').textContent.includes('the status 502 and is no JSON')")


def test_figures_that_do_not_come_are_said_to_be_old(page):
    page.value(
        "AbortSignal.timeout = () =>"
        " AbortSignal.abort(new DOMException('signal timed out', 'TimeoutError')); 1"
    )
    page.until("document.querySelector('#trouble').textContent.includes('not up to date: signal timed out')")


@pytest.mark.parametrize("width", [320, 1280])
def test_long_names_push_no_figure_and_no_button_out_of_sight(browser, width):
    made = Watched(budget=Budget(sample=1e-9))
    for name in ("M" * 100, "m-2"):
        made.cache.budget.judged(name, right=True)
        made.ask(GIT, tenant="W" * 64, model=name)
    with serving(made.app) as url:
        page = browser.page(width=width)
        log_in(page, url)
        for table in ("budget", "recent"):
            region = f"document.querySelector('#{table}').parentElement"
            assert page.value(f"{region}.scrollWidth <= {region}.clientWidth"), table


def test_what_would_go_can_be_scrolled_by_keyboard_and_enter_at_once_changes_nothing(page, watched):
    for number in range(30):
        watched.put(f"question {number}", tags=["many"])
    focus(page, "#remove-value")
    page.type("many")
    page.press("Enter")
    page.until("document.querySelector('#confirm').open")
    assert page.value("document.activeElement.id") == "confirm-no"
    listed = "document.querySelector('#confirm-list')"
    assert page.value(f"{listed}.scrollHeight > {listed}.clientHeight && {listed}.tabIndex === 0")
    page.press("Tab", shift=True)
    assert page.value("document.activeElement.id") == "confirm-list"
    focus(page, "#confirm-no")
    page.press("Enter")
    page.until("!document.querySelector('#confirm').open")
    assert len(watched.cache) == 32


def test_a_landmark_is_named_once(page):
    page.click(explain_button(2))
    page.click(explain_button(3))
    page.until("document.querySelectorAll('.candidates table').length === 2")
    names = page.value(
        "[...document.querySelectorAll('section[aria-labelledby], [role=region]')].map((e) =>"
        " e.getAttribute('aria-label')"
        " ?? document.getElementById(e.getAttribute('aria-labelledby')).textContent)"
    )
    assert len(names) == len(set(names)) > 5


def test_how_many_would_go_is_said_exactly(page):
    assert page.value("import('/static/elements.js').then((all) => all.exactly(10_010))") == "10,010"
