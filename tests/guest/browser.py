# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven through its debugging pipe: JSON messages that end in a zero byte. No packages needed."""
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time


def program():
    """Chromium's path, or None. CHROMIUM names another one."""
    return shutil.which(os.environ.get("CHROMIUM", "chromium"))


class Failed(Exception):
    pass


class Browser:
    """One page. Messages of its console, uncaught errors and requests to anywhere are kept in `complaints`."""

    def __init__(self, width=1400, height=900, dark=False):
        self.folder = tempfile.TemporaryDirectory()
        to_read, self.to = os.pipe()
        self.come, from_write = os.pipe()

        def pipes():
            wanted = os.dup(to_read), os.dup(from_write)  # 3 and 4 themselves may be among the ends of our pipes
            os.dup2(wanted[0], 3)
            os.dup2(wanted[1], 4)

        self.process = subprocess.Popen(
            [program(), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage",
             "--remote-debugging-pipe", f"--user-data-dir={self.folder.name}", f"--window-size={width},{height}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=pipes,
            start_new_session=True)
        os.close(to_read)
        os.close(from_write)
        self.number, self.buffer, self.session, self.complaints = 0, b"", None, []
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")
        self.call("Performance.enable", timeDomain="threadTicks")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.to)
        os.close(self.come)
        for _ in range(50):  # its children may still be writing
            try:
                self.folder.cleanup()
                return
            except OSError:
                time.sleep(0.1)

    def receive(self):
        while b"\0" not in self.buffer:
            more = os.read(self.come, 1 << 20)
            if not more:
                raise Failed("Chromium has gone")
            self.buffer += more
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def note(self, message):
        method, what = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(what["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        elif method == "Runtime.consoleAPICalled" or method == "Log.entryAdded":
            self.complaints.append(json.dumps(what))
        elif method == "Network.requestWillBeSent" and not what["request"]["url"].startswith(("file:", "about:")):
            self.complaints.append("a request to " + what["request"]["url"][:200])

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise Failed(f"{method}: {answer['error']}")
                return answer["result"]
            self.note(answer)

    def run(self, script):
        """The value of an expression; promises are waited for."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise Failed(result["exceptionDetails"].get("exception", {}).get("description", str(result)))
        return result["result"].get("value")

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not self.run(condition):
            if time.monotonic() > end:
                raise Failed("in vain waited for " + condition)
            time.sleep(0.05)

    def open(self, path):
        self.call("Page.navigate", url=path if path == "about:blank" else pathlib.Path(path).resolve().as_uri())
        if path == "about:blank":
            return
        self.wait("document.readyState === 'complete' && document.documentElement.dataset.ready !== undefined", 120)

    def click(self, selector, index=0):
        """A real click, in the middle of the element, when what came before has been drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        place = self.run(f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{index}]; e.scrollIntoView({{block: 'nearest'}});"
                         " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()")
        self.mouse("mousePressed", *place, button="left", clickCount=1)
        self.mouse("mouseReleased", *place, button="left", clickCount=1)

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def press(self, key, text=None):
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def seconds_spent(self):
        """Processor time of the page's main thread: unlike time, it does not depend on what else the machine does."""
        return next(m["value"] for m in self.call("Performance.getMetrics")["metrics"] if m["name"] == "ThreadTime")

    def screenshot(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
