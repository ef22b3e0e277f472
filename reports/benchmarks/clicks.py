"""How long a click in the browsers takes until all that it changes is on screen, pictures too, in Chromium."""

import shutil
import statistics
import subprocess
import sys
from typing import Any

from workbench.paths import project_root
from workbench.stages import Run

_TABS = ("Triplets", "Predictions", "Feature map")
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CLICKS_EACH = 3
# Milliseconds from a click on a button until the last change before half a second without any; null without change.
_ANSWER = """async button => {
  const root = button.closest('.wb');
  const start = performance.now();
  let last = 0;
  const watch = new MutationObserver(() => { last = performance.now(); });
  watch.observe(root, { subtree: true, childList: true, attributes: true, attributeFilter: ['href'] });
  button.click();
  while (performance.now() - Math.max(last, start) < (last ? 500 : 3000)) {
    await new Promise(done => setTimeout(done, 20));
  }
  watch.disconnect();
  return last ? last - start : null;
}"""


def benchmark_clicks() -> dict[str, Any]:
    """Medians over all kinds of buttons of each browser of the run ``demo``, and the slowest kind's own median."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {"not_measured": "playwright is not installed: make test-browser installs it"}
    if not Run.open("demo").variants("evaluation"):
        return {"not_measured": f"{project_root()} has no finished run 'demo': make demo"}
    command = [sys.executable, "-m", "workbench", "browse", "--run", "demo", "--port", "0", "--no-browser"]
    measured: dict[str, Any] = {}
    with sync_playwright() as driver, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        path = next(filter(None, map(shutil.which, _CHROMIUM)), None)
        page = driver.chromium.launch(executable_path=path, args=["--no-sandbox"]).new_page()
        page.goto(server.stdout.readline().strip(), timeout=60_000)
        for tab in _TABS:
            page.get_by_role("tab", name=tab, exact=True).click()
            shown = page.locator(".wb:visible")
            shown.locator("table, .wb-tile").first.wait_for(timeout=120_000)
            page.wait_for_timeout(3000)
            kinds: dict[str, list[float]] = {}
            names = shown.locator("button[data-event]:enabled").evaluate_all("all => all.map(one => one.dataset.event)")
            for name in sorted(set(names)) * _CLICKS_EACH:
                button = shown.locator(f'button[data-event="{name}"]:enabled').last
                answer = button.evaluate(_ANSWER) if button.count() else None
                if answer is not None:
                    kinds.setdefault(name, []).append(answer / 1000)
            medians = {name: statistics.median(times) for name, times in kinds.items()}
            slowest = max(medians, key=lambda name: medians[name])
            key = tab.lower().replace(" ", "_")
            measured[f"{key}_clicks"] = sum(map(len, kinds.values()))
            measured[f"{key}_median_seconds"] = statistics.median([t for times in kinds.values() for t in times])
            measured[f"{key}_slowest_kind"] = slowest
            measured[f"{key}_slowest_kind_seconds"] = medians[slowest]
        server.terminate()
    return measured
