"""A real Airflow over a played story, and a real Chromium. Without an installed Chromium these tests are not collected, and say so."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="subsidy-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__UNIT_TEST_MODE", "False")
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "night"))

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")
REQUIRED = os.environ.get("SUBSIDY_REQUIRE_BROWSER") == "1"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
CENTRE, OTHER = "hangzhou", "wenzhou"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without a browser there is nothing to run here; with SUBSIDY_REQUIRE_BROWSER=1 they run and fail."""
    return True if not CHROMIUM and not REQUIRED and collection_path.name.startswith("test_browser_") else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say it before the closing line, so that nobody takes a green run for a whole one."""
    if not CHROMIUM and not REQUIRED:
        terminalreporter.write_line("注意：没有找到 Chromium，浏览器测试（tests/browser）没有运行。安装 chromium 后重跑。", yellow=True)


@dataclass
class World:
    """The running Airflow, its people, and the settings of its ledger."""

    airflow: Any
    settings: Any
    words: dict[str, str]

    @property
    def address(self) -> str:
        return str(self.airflow.address)

    @contextmanager
    def http(self, login: str = "") -> Iterator[Any]:
        """A client with the cookie that signing in gives; without login: an anonymous visitor."""
        import httpx

        with httpx.Client(base_url=self.address, trust_env=False, timeout=60) as client:
            if login:
                assert client.post("/auth/login", data={"username": login, "password": self.words[login]}).status_code == 303
            yield client


def lay(home: Path) -> tuple[Any, Any]:
    """A home in which one centre has lived three nights, with the files of the fourth waiting, and another centre its first."""
    import playing

    from fixtures import story
    from fixtures.airflow_home import ROOT, AirflowHome
    from subsidy.settings import load_settings

    shutil.copytree(ROOT / "rules", home / "rules")
    airflow = AirflowHome(home, rules=home / "rules", extra={"SUBSIDY_RETRY_SECONDS": "1"})
    settings = load_settings(airflow.environment())
    preparing = threading.Thread(target=airflow.prepare)
    preparing.start()
    playing.play(settings, CENTRE, (1, 2, 3))
    playing.play(settings, OTHER, (1,))
    story.deliver(home, CENTRE, 4)
    preparing.join()
    return airflow, settings


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Airflow, started once for all tests of this room."""
    from fixtures.airflow_home import demo_passwords

    home = tmp_path_factory.mktemp("browser") / "home"
    home.mkdir()
    airflow, settings = lay(home)
    try:
        airflow.start()
        airflow.wait_ready([f"subsidy_{CENTRE}", f"subsidy_{CENTRE}_publish", f"subsidy_{OTHER}"], seconds=180)
        yield World(airflow, settings, demo_passwords(home, airflow.rules))
    finally:
        airflow.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium with a user folder of its own."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "没有找到 Chromium，而 SUBSIDY_REQUIRE_BROWSER=1 要求运行浏览器测试。"
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), headless=True)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def window(world: World, browser: Any) -> Callable[..., Any]:
    """A page of a new browser window in which somebody has signed in by the form; `width` of the window in pixels."""

    def open_window(login: str, to: str = "/subsidy/board", width: int = 1366) -> Any:
        size = {"width": width, "height": 900}
        page = browser.new_context(viewport=size, locale="zh-CN", timezone_id="Asia/Shanghai", accept_downloads=True).new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{world.address}/auth/login?next={to.replace('?', '%3F')}")
        page.get_by_label("登录名").fill(login)
        page.get_by_label("口令").fill(world.words[login])
        page.get_by_role("button", name="登录").click()
        page.wait_for_url(f"**{to}*")
        return page

    return open_window
