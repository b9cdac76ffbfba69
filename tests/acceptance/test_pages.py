"""The docs pages in a real browser: they draw every operation, work, and load nothing from another host."""

import asyncio
import base64
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.service import Client, Service

WAIT_SECONDS_MAX = 20.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root, or a container without user namespaces, cannot have it
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1800",
    "--remote-debugging-port=0",
)
REDOC_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"


class Tab:
    """One tab of the browser, driven over its debugging socket (Chrome DevTools Protocol)."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last_id = 0
        self.events: list[dict[str, Any]] = []

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method and return its result; what the tab reported meanwhile goes to `events`, in order."""
        self._last_id += 1
        await self._socket.send_json({"id": self._last_id, "method": method, "params": params})
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while (message := await self._socket.receive_json()).get("id") != self._last_id:
                self.events.append(message)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    async def open(self, url: str) -> None:
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        reply = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    async def wait_until(self, condition: str) -> None:
        """Wait for a JavaScript condition on the page, looked at after each change."""
        watch = "new MutationObserver(look).observe(document, {childList: true, subtree: true, attributes: true})"
        look = f"const look = () => {{ if ({condition}) done() }}; {watch}; look()"
        try:
            await self.evaluate(f"new Promise(done => {{ {look} }})")
        except TimeoutError:
            pytest.fail(f"Not true after {WAIT_SECONDS_MAX} s: {condition}\n{self.problems()}")

    async def screenshot(self, path: Path) -> bytes:
        picture = base64.b64decode((await self.call("Page.captureScreenshot"))["data"])
        await asyncio.to_thread(path.write_bytes, picture)
        return picture

    def refused(self) -> set[str]:
        """Return the addresses that the page's policy kept from being loaded."""
        ids = {e["params"]["requestId"] for e in self.events if e["params"].get("blockedReason") == "csp"}
        return {e["params"]["request"]["url"] for e in self._requests() if e["params"]["requestId"] in ids}

    def loaded(self) -> set[str]:
        """Return every address that was asked of the network."""
        urls = {e["params"]["request"]["url"] for e in self._requests()}
        return {url for url in urls - self.refused() if not url.startswith(("data:", "blob:"))}

    def problems(self) -> list[str]:
        """Return script errors, failed loads and policy violations, as the browser words them."""
        entries = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        thrown = [str(e["params"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        logged = [e["params"] for e in self.events if e["method"] == "Runtime.consoleAPICalled"]
        printed = [str(call["args"]) for call in logged if call["type"] in {"warning", "error", "assert"}]
        return thrown + printed + [entry["text"] for entry in entries if entry["level"] in {"warning", "error"}]

    def _requests(self) -> list[dict[str, Any]]:
        return [e for e in self.events if e["method"] == "Network.requestWillBeSent"]


def chromium() -> str:
    """Return the browser's program; without one, skip here and fail in CI."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if program := shutil.which(name):
            return program
    reason = "No Chromium here: the docs pages cannot be rendered (Debian: apt-get install chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """Open a tab in a browser of its own, with an empty profile."""
    program, profile = chromium(), f"--user-data-dir={tmp_path / 'profile'}"
    browser = await asyncio.create_subprocess_exec(program, *FLAGS, profile, stderr=asyncio.subprocess.PIPE)
    assert browser.stderr is not None
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while b"DevTools listening on" not in (line := await browser.stderr.readline()):
                assert line, f"{program} ended before it listened"
        noise = asyncio.create_task(browser.stderr.read())  # or a full pipe would stop it
        host = line.decode().split("ws://")[1].split("/")[0]
        async with aiohttp.ClientSession() as session:
            async with session.put(f"http://{host}/json/new?about:blank") as response:
                address = (await response.json(content_type=None))["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield Tab(socket)
    finally:
        if browser.returncode is None:
            browser.kill()
        await browser.wait()
    await noise


async def described(client: Client) -> dict[str, str]:
    """Return the operations of the document: id and path."""
    paths = (await client.get("/openapi.json")).body["paths"]
    assert "/api/v1/wallets" in paths
    return {operation["operationId"]: path for path, item in paths.items() for operation in item.values()}


async def test_docs__shows_every_operation_and_loads_nothing_from_another_host(
    service: Service, client: Client, tab: Tab, tmp_path: Path
) -> None:
    operations = await described(client)
    await tab.open(f"{service.url}/docs")
    await tab.wait_until("document.querySelector('.opblock')")
    shown = await tab.evaluate("[...document.querySelectorAll('.opblock [data-path]')].map(e => e.dataset.path)")
    assert sorted(shown) == sorted(operations.values())
    assert len(await tab.screenshot(tmp_path / "docs.png")) > 10_000
    assert {url for url in tab.loaded() if not url.startswith(f"{service.url}/")} == set()
    assert tab.problems() == []


async def test_docs__an_operation_can_be_tried(service: Service, tab: Tab, tmp_path: Path) -> None:
    await tab.open(f"{service.url}/docs")
    create = (
        "[...document.querySelectorAll('.opblock-post')].find(o => o.querySelector('[data-path=\"/api/v1/wallets\"]'))"
    )
    await tab.wait_until(create)
    await tab.evaluate(f"{create}.querySelector('.opblock-summary-control').click()")
    # Before the animation is gone Swagger UI has not resolved the operation, and a click on Execute does nothing.
    await tab.wait_until(f"{create}.querySelector('.execute') && !{create}.querySelector('.opblock-loading-animation')")
    await tab.evaluate(f"{create}.querySelector('.execute').click()")
    status = f"{create}.querySelector('.live-responses-table .response .response-col_status')"
    await tab.wait_until(status)
    assert (await tab.evaluate(f"{status}.textContent")).startswith("201")
    assert len(await tab.screenshot(tmp_path / "tried.png")) > 10_000
    assert tab.problems() == []


async def test_redoc__search_finds_an_operation(service: Service, tab: Tab) -> None:
    await tab.open(f"{service.url}/redoc")
    await tab.wait_until("document.querySelector('.search-input')")
    await tab.evaluate("document.querySelector('.search-input').focus()")
    await tab.call("Input.insertText", text="wallet")
    await tab.wait_until("document.querySelector('[data-role=\"search:results\"] li')")


async def test_redoc__shows_every_operation_and_loads_nothing_from_another_host(
    service: Service, client: Client, tab: Tab, tmp_path: Path
) -> None:
    operations = await described(client)
    await tab.open(f"{service.url}/redoc")
    await tab.wait_until("document.querySelector('.redoc-wrap')")
    ids = await tab.evaluate("[...document.querySelectorAll('[data-section-id]')].map(e => e.dataset.sectionId)")
    assert {shown for shown in ids if shown.startswith("operation/")} == {f"operation/{name}" for name in operations}
    text = await tab.evaluate("document.querySelector('.redoc-wrap').textContent")
    assert {path for path in operations.values() if path not in text} == set()
    assert len(await tab.screenshot(tmp_path / "redoc.png")) > 10_000
    assert {url for url in tab.loaded() if not url.startswith(f"{service.url}/")} == set()
    assert tab.refused() <= {REDOC_LOGO}
    assert [problem for problem in tab.problems() if REDOC_LOGO not in problem] == []
