//! A real browser for tests: Chromium without a window, driven by its debugging protocol through two pipes.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page.
pub(super) struct Browser {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: String,
    id: u64,
    /// Events that have arrived, such as messages of the console.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser. `None` if none is installed.
    pub(super) fn start() -> Option<Self> {
        let works = |program: &&&str| {
            Command::new(program)
                .arg("--version")
                .stderr(Stdio::null())
                .output()
                .is_ok_and(|o| o.status.success())
        };
        let program = PROGRAMS.iter().find(works)?;
        let profile = tempfile::tempdir().expect("a directory");
        // The browser reads commands from descriptor 3 and writes answers to 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh", program])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--disable-background-networking", "--remote-debugging-pipe", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the browser starts");
        let commands = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut browser = Self {
            process,
            commands,
            answers,
            session: String::new(),
            id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", &attach)["sessionId"].clone();
        browser.session = session.as_str().expect("a session").into();
        for domain in ["Page.enable", "Runtime.enable", "Network.enable", "Log.enable"] {
            browser.call(domain, &json!({}));
        }
        Some(browser)
    }

    /// Runs a command and returns its result.
    pub(super) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.id += 1;
        let mut command = json!({"id": self.id, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).expect("the browser reads");
        loop {
            let message = self.read();
            if message["id"] == self.id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.answers.read_until(0, &mut message).expect("the browser writes");
        assert_eq!(message.pop(), Some(0), "the browser ended");
        serde_json::from_slice(&message).expect("JSON")
    }

    /// Opens a file and waits until it is loaded.
    pub(super) fn open(&mut self, path: &Path, fragment: &str) {
        // A change of the fragment alone would not load the page.
        self.navigate("about:blank");
        self.navigate(&format!("file://{}{fragment}", path.display()));
    }

    fn navigate(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
        self.wait_for_load();
    }

    pub(super) fn reload(&mut self) {
        self.call("Page.reload", &json!({}));
        self.wait_for_load();
    }

    fn wait_for_load(&mut self) {
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(loaded) {
            let message = self.read();
            self.events.push(message);
        }
        self.events.retain(|event| !loaded(event));
    }

    /// Evaluates JavaScript and returns its value, which must be representable as JSON.
    pub(super) fn eval(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", &params);
        assert!(result["exceptionDetails"].is_null(), "{script}: {result}");
        result["result"]["value"].clone()
    }

    /// Width of the window, its medium (`screen` or `print`), and whether colours are dark.
    pub(super) fn show(&mut self, width: u32, medium: &str, dark: bool) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({"media": medium, "features": features}));
    }

    /// Requests that leave the file, and errors in the console.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut out = Vec::new();
        for event in &self.events {
            let params = &event["params"];
            let url = params["request"]["url"].as_str().unwrap_or_default();
            match event["method"].as_str().unwrap_or_default() {
                "Network.requestWillBeSent"
                    if !["file:", "data:", "about:"].iter().any(|own| url.starts_with(own)) =>
                {
                    out.push(format!("request of {url}"));
                }
                "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" => {
                    out.push(params.to_string());
                }
                _ => {}
            }
        }
        out
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A closed browser leaves no process that still writes to its profile. The answers end with it.
        let closes = self.commands.write_all(b"{\"id\": 0, \"method\": \"Browser.close\"}\0").is_ok();
        if !closes || io::copy(&mut self.answers, &mut io::sink()).is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
