"""The page at /status in a real browser."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from gateway.config import Auth, Secret
from gateway.proxy.request import ClientRequest
from gateway.status import watchers
from gateway.telemetry.access_log import Record
from tests.fakes.messages import ScriptedUpstream, error_response, json_response, message
from tests.support.browser import Browser, Page, browsing
from tests.support.client import ask
from tests.support.loops import eventually
from tests.support.running import Running, config, running, upstream

EVIL = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"

HERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "EVERY", 0.05)


def check(page: Page, g: Running) -> None:
    """Assert that the console is empty, and that all requests went to the gateway."""
    assert page.console == []
    assert {url.partition("/status")[0] for url in page.requested} == {g.url}


def fill(g: Running, count: int, **fields: Any) -> None:
    """Requests that have ended within the hour."""
    now = time.time()
    recent = g.gateway.runtime.process_state.recent
    for at in range(count):
        made = {"model": "claude-opus-5-5", "upstream": "up", "account": "a@x.org", "outcome": "ok", **fields}
        recent.take(
            [
                Record(
                    now - 3000 * (1 - at / count),
                    f"req_{at}",
                    method="POST",
                    path="/v1/messages",
                    status=200,
                    first_byte=0.5,
                    input_tokens=10,
                    output_tokens=5,
                    cache_read_tokens=90,
                    conversation=f"laptop/{at % 300}",
                    **made,
                )
            ]
        )


async def test_live_updates_and_keyboard_control(browser: Browser) -> None:
    limited = error_response(429, "rate_limit_error", "wait a while", [("retry-after", "3600")])
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x.org", "b@x.org"))) as g:
        up.script(limited, json_response(200, message()))
        async with browser.page(f"{g.url}/status") as page:
            await page.shows("#link", "live")
            await page.shows(".account", "free")
            assert (await g.post(ask())).status == 200
            await page.shows(".account .pill", "cooling")
            await page.shows(".why", "wait a while")
            await page.shows("#rows td", "200 ok")
            # From the top of the page to the first button that ends a cool-down, and further to one that disables.
            for label in ("End the cool-downs of up/a@x.org", "Disable up/a@x.org"):
                for _ in range(10):
                    await page.do("keyboard.press", "Tab")
                    if await page.eval("document.activeElement.getAttribute('aria-label')") == label:
                        break
                await page.do("keyboard.press", "Enter")
                if label.startswith("End"):
                    await page.do("wait_for_selector", "text=wait a while >> visible=true", state="detached")
                    # The button is gone, and the focus is on its neighbour.
                    focus = await page.eval("document.activeElement.getAttribute('aria-label')")
                    assert focus == "Disable up/a@x.org"
                    await page.do("keyboard.press", "Shift+Tab")
            await page.shows(".account .pill", "disabled")
            assert [one.disabled for one in g.gateway.runtime.scheduler.snapshot(0.0)] == [True, False]
            await page.do("keyboard.press", "Enter")
            await page.do("wait_for_selector", ".pill.disabled", state="detached")
            check(page, g)


async def test_status_page_reconnects(browser: Browser) -> None:
    async with running(config(upstream(HERE, "a@x.org"))) as g, browser.page(f"{g.url}/status") as page:
        await page.shows("#link", "live")
        process_state = g.gateway.runtime.process_state
        assert process_state.watchers is not None
        process_state.watchers.end()
        await page.shows("#link", "no connection, as of")
        assert await page.eval("document.getElementById('all').classList.contains('stale')")
        await page.shows("#link", "live")
        assert not await page.eval("document.getElementById('all').classList.contains('stale')")
        # A hidden tab sends no requests.
        for hidden, connections in (("true", 0), ("false", 1)):
            await page.eval(
                f"Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}})"
            )
            await page.eval("document.dispatchEvent(new Event('visibilitychange'))")
            await eventually(partial(lambda wanted: _streams(g) == wanted, connections))
        check(page, g)


def _streams(g: Running) -> int:
    """How many watch."""
    return sum(isinstance(each, ClientRequest) for each in g.gateway.server.handlers())


async def test_names_are_inserted_as_text(browser: Browser) -> None:
    async with ScriptedUpstream(
        respond=lambda _: error_response(429, "x", EVIL, [("retry-after", "60")])
    ) as up:
        settings = config(upstream(up.url, EVIL, drop_betas=(EVIL,)))
        async with running(settings) as g:
            assert (await g.post(ask(model=EVIL))).status == 429
            fill(g, 1, model=EVIL, key=EVIL, error=EVIL, outcome=EVIL, tried=(f"{EVIL}@up:{EVIL}",))
            async with browser.page(f"{g.url}/status") as page:
                await page.shows(".name", "<img src=x")
                await page.shows("#rows td", "<img src=x")
                assert await page.eval("document.querySelectorAll('img, #all script').length") == 0
                assert await page.eval("window.hacked") is None
                check(page, g)
                # Markup that did get in could do nothing.
                await page.eval(
                    "document.body.append(Object.assign(document.createElement('script'), {text: 'window.hacked = 1'}),"
                    "document.createRange().createContextualFragment(`<img src=x onerror='window.hacked=1'>`))"
                )
                await page.eval("new Promise(done => setTimeout(done, 50))")
                assert await page.eval("window.hacked") is None
                assert any("Content Security Policy" in line for line in page.console)


async def test_the_key_is_kept_in_session_storage_only(browser: Browser) -> None:
    auth = Auth(mode="strict", keys={"laptop": Secret("key-of-laptop")})
    async with running(config(upstream(HERE, "a@x.org"), auth=auth)) as g:
        async with browser.page(f"{g.url}/status") as page:
            await page.shows("#asked", "key is missing or wrong")
            assert not await page.do("is_visible", "#all")
            for key, words in (("nonsense", "That key was refused"), ("key-of-laptop", "")):
                await page.do("keyboard.type", key)
                await page.do("keyboard.press", "Enter")
                if words:
                    await page.shows("#asked", words)
            await page.shows("#link", "live")
            await page.do("click", "text=Disable")
            await page.shows(".account .pill", "disabled")
            assert await page.eval("localStorage.length + document.cookie.length") == 0
            assert "key-of-laptop" not in await page.do("content")
            assert not any("key" in url for url in page.requested)
            await page.do("click", "text=Forget the key")
            await page.shows("#asked", "key is missing")
            assert not await page.do("is_visible", "#all")
            # The console had only the refusals.
            assert all("401" in line for line in page.console)
        assert not any("key-of-laptop" in line for line in g.lines)


async def test_on_a_phone_elsewhere_with_very_many_requests(browser: Browser) -> None:
    window = {"viewport": {"width": 360, "height": 740}, "timezone_id": "Asia/Tokyo", "color_scheme": "dark"}
    async with running(config(upstream(HERE, "a@x.org", "b" * 120 + "@x.org"))) as g:
        fill(g, 10_000)
        async with browser.page(f"{g.url}/status", **window) as page:
            await page.shows("#link", "live")
            await page.shows("#count", "the last 200")
            assert await page.eval("document.documentElement.scrollWidth") == 360
            assert await page.eval("document.querySelectorAll('#rows tr').length") == 200
            assert await page.eval("document.querySelectorAll('#talks tr').length") == 100
            assert await page.eval("document.querySelectorAll('*').length") < 6000
            assert await page.eval("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"
            # Times are the reader's own, and the figures those of the hour.
            hour = time.strftime("%H:", time.gmtime(time.time() + 9 * 3600))
            earlier = time.strftime("%H:", time.gmtime(time.time() + 8 * 3600))
            first = await page.do("text_content", "#rows tr td")
            assert first.rpartition(" ")[2].startswith((hour, earlier))
            await page.shows("#zone", "Asia/Tokyo")
            await page.shows(".figure", "90 %")
            label = await page.do("get_attribute", "svg >> nth=0", "aria-label")
            assert label.startswith("Requests, the last hour: 10k")
            fill(g, 1, model="needle")
            await page.do("fill", "#filter", "NEEDLE")
            await page.shows("#count", "1 of 200")
            await page.do("check", "#failures")
            await page.shows("#count", "0 of 200")
            # A second's work fits into a frame of 16 ms, on a machine that has a moment for it.
            quickest = await page.eval(
                "Promise.all([...Array(20)].map(() => { const from = performance.now(); drawAll();"
                "return performance.now() - from; })).then(times => Math.min(...times))"
            )
            assert quickest < 16
            check(page, g)
