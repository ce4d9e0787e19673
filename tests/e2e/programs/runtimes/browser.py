"""Browsers without a screen: `browser.py MODE ADDRESS CA BODY`, MODE one of `chromium-http1`, `chromium-http2`, `firefox-http1`,
`firefox-http2`.

What it prints and reads is described in tests/e2e/src/guest.rs; `pid` is the process that has the connections. The requests are those of `fetch` in
the browser. The browser is told what to do over pipes (Chromium) or a socket that carries no HTTP (Firefox), so that its
connections are those of the requests.
"""

import base64
import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

MODE, ADDRESS, AUTHORITY, BODY_FILE = sys.argv[1:5]
BROWSER, PROTOCOL = MODE.split("-")
PATIENCE = 60

# The requests of a round, one after another, and what came; `body` and what came are in base64.
# The page from which Chromium asks is not a secure one, so it has no `crypto.subtle`: the bytes come out.
FETCH = """
const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const text = (buffer) => { let s = ""; for (const byte of new Uint8Array(buffer)) s += String.fromCharCode(byte); return btoa(s); };
const get = await (await fetch(address + "/bytes/30721")).arrayBuffer();
const post = await (await fetch(address + "/echo", { method: "POST", body: bytes(body) })).arrayBuffer();
return [text(get), text(post)];
"""


def environment(home):
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SSLKEYLOGFILE") if name in os.environ}
    return {**kept, "HOME": str(home), "MOZ_HEADLESS": "1", "MOZ_CRASHREPORTER_DISABLE": "1"}


class Chromium:
    """Over its DevTools pipes: JSON with a NUL behind it."""

    LIBRARY = "BoringSSL"

    def __init__(self, folder):
        to_browser, self.out = os.pipe()
        self.inbox, from_browser = os.pipe()
        command = [
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--ignore-certificate-errors",
            f"--user-data-dir={folder / 'profile'}",
            "--disable-web-security",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--no-proxy-server",
            "--remote-debugging-pipe",
        ]
        if PROTOCOL == "http1":
            command.append("--disable-http2")
        # DevTools reads at descriptor 3 and writes at 4.
        shell = 'exec 3<&"$0" 4>&"$1"; shift; exec "$@"'
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", shell, str(to_browser), str(from_browser), *command, "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            env=environment(folder),
        )
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.number = 0
        self.version = self.ask("Browser.getVersion")["product"].split("/")[1]
        page = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def ask(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                piece = os.read(self.inbox, 1 << 20)
                if not piece:
                    sys.exit("the browser has ended")
                self.buffer += piece
            line, self.buffer = self.buffer.split(b"\0", 1)
            answer = json.loads(line)
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]

    def fetch(self, body):
        script = f"(async (address, body) => {{ {FETCH} }})({json.dumps(ADDRESS)}, {json.dumps(body)})"
        answer = self.ask(
            "Runtime.evaluate", session=self.session, expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            sys.exit(f"fetch: {answer['exceptionDetails']}")
        return answer["result"]["value"]

    def networker(self):
        """A process of its own has all connections."""
        return descendant(self.process.pid, b"--utility-sub-type=network.mojom.NetworkService")

    def close(self):
        self.ask("Browser.close")
        self.process.wait(PATIENCE)


class Firefox:
    """Over Marionette: `LENGTH:[kind, number, …]`."""

    LIBRARY = "NSS"

    def __init__(self, folder):
        profile = folder / "profile"
        profile.mkdir()
        port = free_port()
        preferences = {
            "marionette.port": port,
            "network.http.http2.enabled": PROTOCOL == "http2",
            "network.captive-portal-service.enabled": False,
            "network.connectivity-service.enabled": False,
            "network.proxy.type": 0,
            "app.normandy.enabled": False,
            "app.update.enabled": False,
            "browser.safebrowsing.downloads.enabled": False,
            "browser.safebrowsing.malware.enabled": False,
            "browser.safebrowsing.phishing.enabled": False,
            "browser.safebrowsing.provider.mozilla.updateURL": "",
            "datareporting.policy.dataSubmissionEnabled": False,
            "dom.push.enabled": False,
            "extensions.getAddons.cache.enabled": False,
            "services.settings.server": "data:,",
            "toolkit.telemetry.enabled": False,
        }
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
        (profile / "user.js").write_text("".join(lines))
        database = f"sql:{profile}"
        run("certutil", "-N", "-d", database, "--empty-password")
        run("certutil", "-A", "-d", database, "-n", "qtap e2e authority", "-t", "C,,", "-i", AUTHORITY)
        self.process = subprocess.Popen(
            [
                "firefox-esr",
                "--headless",
                "--no-remote",
                "--profile",
                str(profile),
                "--marionette",
                "--remote-allow-system-access",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            env=environment(folder),
        )
        self.socket = self.connect(port)
        self.buffer = b""
        self.number = 0
        self.message()
        capabilities = self.ask("WebDriver:NewSession", capabilities={})["capabilities"]
        self.version = capabilities["browserVersion"]
        self.pid = capabilities["moz:processID"]
        # Where what is fetched from another origin may be read.
        self.ask("Marionette:SetContext", value="chrome")
        self.ask("WebDriver:SetTimeouts", script=PATIENCE * 1000)

    def connect(self, port):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def message(self):
        while True:
            length, colon, rest = self.buffer.partition(b":")
            if colon and len(rest) >= int(length):
                self.buffer = rest[int(length) :]
                return json.loads(rest[: int(length)])
            piece = self.socket.recv(1 << 20)
            if not piece:
                sys.exit("the browser has ended")
            self.buffer += piece

    def ask(self, command, **parameters):
        self.number += 1
        text = json.dumps([0, self.number, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        while True:
            kind, number, error, result = self.message()
            if (kind, number) == (1, self.number):
                if error:
                    sys.exit(f"{command}: {error}")
                return result

    def fetch(self, body):
        script = (
            "const [address, body, done] = arguments; (async () => {"
            + FETCH
            + "})().then(done, (error) => done(String(error)));"
        )
        got = self.ask("WebDriver:ExecuteAsyncScript", script=script, args=[ADDRESS, body])["value"]
        if isinstance(got, str):
            sys.exit(f"fetch: {got}")
        return got

    def networker(self):
        """The first process has all connections."""
        return self.pid

    def close(self):
        self.ask("Marionette:Quit", flags=["eForceQuit"])
        self.process.wait(PATIENCE)


def descendant(root, word):
    """The process below `root` with `word` in its command line."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        parents = {}
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                parents[int(entry.name)] = (int(stat[1]), (entry / "cmdline").read_bytes())
            except OSError:
                continue
        for pid, (parent, line) in parents.items():
            while word in line and parent in parents and parent != root:
                parent = parents[parent][0]
            if word in line and parent == root:
                return pid
        time.sleep(0.05)
    sys.exit(f"no process {word.decode()}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=PATIENCE)


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="qtap-browser-"))
    browser = None
    try:
        browser = {"chromium": Chromium, "firefox": Firefox}[BROWSER](folder)
        facts = {"version": browser.version, "library": browser.LIBRARY, "pid": browser.networker()}
        print("ready", json.dumps(facts), flush=True)
        with open(BODY_FILE, "rb") as file:
            body = base64.b64encode(file.read()).decode()
        for _ in sys.stdin:
            got, echoed = (digest(base64.b64decode(text)) for text in browser.fetch(body))
            print("done", json.dumps({"get": got, "post": echoed}), flush=True)
        browser.close()
    finally:
        if browser and browser.process.poll() is None:
            browser.process.kill()
            browser.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def digest(content):
    return hashlib.sha256(content).hexdigest()


main()
