"""The page in a real browser, against the service with the models of `make run`.

Playwright's synchronous interface leaves an event loop running on its thread, where no other test could call
`asyncio.run`. So the browser has a thread of its own, on which the tests of this folder run as well.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, sync_playwright

from benchmarks.harness.browser import executable, launch
from tests.conftest import Runner
from tests.web.desk import Desk

# tests/conftest.py says so in a line.
collect_ignore_glob = [] if executable() else ["test_*.py"]

_thread = ThreadPoolExecutor(1, "browser")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    _thread.submit(pyfuncitem.obj, **wanted).result()
    return True


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = _thread.submit(sync_playwright().start).result()
    opened = _thread.submit(launch, playwright).result()
    yield opened
    _thread.submit(opened.close).result()
    _thread.submit(playwright.stop).result()


@pytest.fixture
def desk(browser: Browser, as_it_starts: Runner) -> Iterator[Desk]:
    """A desk that nobody has used, once it is ready. What every test expects of the page is checked at the end."""
    opened = _thread.submit(Desk, browser, as_it_starts.url).result()
    yield opened
    _thread.submit(opened.close).result()
