"""A headless Chromium, and a page in it that is opened from a file with the network refused."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from tools.doctor import find_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator:
    found = find_chromium()
    if found is None:
        say = "there is no Chromium on this machine (make doctor says more)"
        pytest.fail(say) if os.environ.get("CI") == "true" else pytest.skip(say)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page; asking for anything but the file, or an error of the script, fails the test."""
    options = getattr(request, "param", {})
    context = browser.new_context(
        viewport={"width": options.get("width", 1280), "height": 900},
        color_scheme=options.get("scheme", "light"),
    )
    page, asked, errors = context.new_page(), [], []

    def only_the_file(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_() if route.request.url.startswith("file:") else route.abort()

    page.route("**/*", only_the_file)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append("a token was run as a script"))
    page.on("console", lambda told: errors.append(told.text) if told.type == "error" else None)
    page.goto(file.as_uri())
    yield page
    context.close()
    # a file that the page itself makes for a download has an address of its own
    pages = {address.partition("#")[0] for address in asked if not address.startswith("blob:")}
    assert pages == {file.as_uri()}
    assert not errors
