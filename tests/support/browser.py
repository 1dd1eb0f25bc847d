"""A real browser: Debian's chromium, driven by Playwright from a thread with its own loop, so that one browser
serves tests that each have their own loop."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from threading import Thread
from typing import Any, Protocol, TypeVar

import pytest

T = TypeVar("T")

CHROMIUM = shutil.which("chromium")

SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
"""Options of a browser that connects to the page's own server only."""

PATIENCE = 30_000.0
"""Milliseconds for anything that is waited for."""


class Launched(Protocol):
    """The used part of Playwright's browser."""

    async def new_context(self, **options: Any) -> Any:
        """Open a window without anything of another."""

    async def close(self) -> None:
        """End it."""


class Page:
    """A page, its console and its requests."""

    def __init__(self, browser: "Browser", page: Any) -> None:
        self._browser = browser
        self._page = page
        self.console: list[str] = []
        """Errors and warnings of its console, and exceptions."""
        self.requested: list[str] = []
        """The addresses of all requests."""
        page.on(
            "console", lambda message: self.console.append(message.text) if message.type != "log" else None
        )
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))

    async def do(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of Playwright's page, or of a part of it as in `keyboard.press`."""

        async def call() -> Any:
            target = self._page
            for part in name.split("."):
                target = getattr(target, part)
            return await target(*arguments, **options)

        return await self._browser.run(call())

    async def shows(self, selector: str, words: str) -> None:
        """Wait until an element with these words is there."""
        await self.do("wait_for_selector", f"{selector}:visible >> text={words}", timeout=PATIENCE)

    async def eval(self, script: str) -> Any:
        """Return what a script evaluates to."""
        return await self.do("evaluate", script)


class Browser:
    """One browser for many tests."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.launched: Launched

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the browser's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    @asynccontextmanager
    async def page(self, url: str, **options: Any) -> AsyncIterator[Page]:
        """A page in its own window. `options` are the window's."""

        async def open_page() -> tuple[Any, Page]:
            context = await self.launched.new_context(**options)
            return context, Page(self, await context.new_page())

        context, page = await self.run(open_page())
        try:
            await page.do("goto", url)
            yield page
        finally:
            await self.run(context.close())


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser, or the reason why there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    api = pytest.importorskip(
        "playwright.async_api", reason="Playwright is not installed: pip install playwright"
    )
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    browser = Browser(loop)
    driver = wait(api.async_playwright().start())
    try:
        browser.launched = wait(driver.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES)))
        yield browser
        wait(browser.launched.close())
    finally:
        wait(driver.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
