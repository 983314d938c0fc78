"""A real Chromium without a window, driven through chromedriver, with axe-core."""

import json
import os
import pathlib
import shutil
import subprocess
import time

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

HERE = pathlib.Path(__file__).resolve().parent

# Widths and heights of the pages that are checked, in CSS pixels.
WIDE, NARROW = (1280, 900), (360, 740)

# The longest wait for a state of the page: it fetches every 5 s.
PATIENCE = 30


class Wrong(Exception):
    """The page is not as it should be."""


def wanted(condition, what):
    if not condition:
        raise Wrong(what)


def axe_source():
    """Returns the program of axe-core. npm fetches it once, and checks it against package-lock.json."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "moorgate-shipping/browser"
    cache.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_text()
    program = cache / "node_modules/axe-core/axe.min.js"
    if not program.exists() or not (cache / "package-lock.json").exists() or (cache / "package-lock.json").read_text() != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, cache / name)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=cache, check=True,
                       stdout=subprocess.DEVNULL)
    return program.read_text()


class Browser:
    """One window of Chromium."""

    def __init__(self, folder, axe, scripts=True):
        options = Options()
        options.binary_location = shutil.which("chromium")
        # Chromium has no sandbox for root. It reaches no other machine, and asks none for updates.
        for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--disable-background-networking", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                         f"--user-data-dir={folder}"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.set_script_timeout(PATIENCE)
        self.axe = axe
        if not scripts:
            self.tell("Emulation.setScriptExecutionDisabled", value=True)
        # The keyboard goes to the page, as in a window that has the focus.
        self.tell("Emulation.setFocusEmulationEnabled", enabled=True)
        self.size(WIDE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def tell(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def size(self, size):
        self.tell("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)

    def prefer(self, **preferences):
        """Sets what the reader prefers, such as prefers_color_scheme="dark"."""
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in preferences.items()]
        self.tell("Emulation.setEmulatedMedia", features=features)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, selector="body"):
        """Returns the text of an element, and nothing if it is not visible."""
        return self.run("const it = document.querySelector(arguments[0]); return it?.checkVisibility() ? it.innerText : ''", selector)

    def wait(self, what, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            wanted(time.monotonic() < deadline, f"it never happens that {what}; the page:\n{self.text()}")
            time.sleep(0.05)

    def wait_for_text(self, selector, words):
        self.wait(f"{selector} has `{words}`", lambda: words in self.text(selector))

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab(self):
        self.press(Keys.TAB)

    def errors(self):
        """Returns what the browser complained about since the last call, such as a blocked script."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def has_no_fault(self, where):
        """Looks for faults with axe-core, and for a page that is wider than the window, in every look."""
        for size in (WIDE, NARROW):
            for scheme in ("light", "dark"):
                self.size(size)
                self.prefer(prefers_color_scheme=scheme)
                look = f"{where}, {size[0]} px, {scheme}"
                wide, window = self.run(
                    "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
                wanted(wide <= window == size[0], f"{look}: the page is {wide} px wide, and the window {window}")
                faults = self.ask_axe()
                wanted(not faults, f"{look}: axe-core found: {json.dumps(faults, indent=1)}")
        self.size(WIDE)
        self.prefer()
        print(f"ok: {where}: nothing found, light and dark, at {WIDE[0]} and {NARROW[0]} px")

    def ask_axe(self):
        """Returns the faults by every rule of axe-core, and the contrasts that it could not judge."""
        if not self.run("return Boolean(window.axe)"):
            self.run(self.axe)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, { resultTypes: ['violations', 'incomplete'] }).then(done, "
            "(error) => done({ violations: [{ id: String(error), nodes: [] }], incomplete: [] }))")
        results = found["violations"] + found["incomplete"]
        return [{"rule": result["id"], "where": [node["html"][:200] for node in result["nodes"]],
                 "why": [node.get("failureSummary", "")[:300] for node in result["nodes"]][:3]} for result in results]

    def picture(self, path):
        """Writes a picture of the whole page."""
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return document.documentElement.clientWidth")
        self.size((width, height))
        self.driver.save_screenshot(str(path))
        self.size(WIDE)
