//! A headless Chromium, driven over the Chrome DevTools Protocol (<https://chromedevtools.github.io/devtools-protocol/>).
//!
//! The protocol is JSON over a websocket, and the test needs eight of its methods. The crates that wrap all of it generate and compile
//! tens of thousands of lines, two minutes of CPU time.

use base64::Engine as _;
use serde_json::{Value, json};
use sidespan_harness::client::WebSocket;
use sidespan_harness::{Result, eventually};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest wait for the browser to start, and for a page to load.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running browser with one page. It ends when it is dropped.
pub(crate) struct Chromium {
    _process: Process,
    socket: WebSocket,
    session: String,
    last_id: u64,
    /// Everything that the page reported so far.
    pub(crate) events: Vec<Value>,
    // Removed last, when the process has ended.
    _profile: tempfile::TempDir,
}

// === impl Chromium ===

impl Chromium {
    /// Starts it with an empty page.
    pub(crate) async fn start(program: &Path) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let child = Command::new(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"])
            .args(["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let process = Process(child);
        let file = profile.path().join("DevToolsActivePort");
        let (port, path) = eventually("Chromium listens", TIMEOUT, async || {
            let text = std::fs::read_to_string(&file)?;
            let (port, path) = text.trim().split_once('\n').ok_or_else(|| anyhow::anyhow!("{text:?}"))?;
            Ok((port.parse::<u16>()?, path.to_owned()))
        })
        .await?;
        let socket = WebSocket::connect(port, &format!("127.0.0.1:{port}"), &path, &[]).await?;
        let mut browser = Self {
            _process: process,
            socket,
            session: String::new(),
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(browser)
    }

    /// Opens an address and waits until it has loaded. Events of earlier pages are forgotten.
    pub(crate) async fn open(&mut self, address: &str) -> Result<()> {
        self.events.clear();
        self.call("Page.navigate", json!({"url": address})).await?;
        let loaded = |events: &[Value]| events.iter().any(|event| event["method"] == "Page.loadEventFired");
        tokio::time::timeout(TIMEOUT, async {
            while !loaded(&self.events) {
                let event = serde_json::from_str(&self.socket.receive().await?)?;
                self.events.push(event);
            }
            Ok(())
        })
        .await?
    }

    /// The value of an expression, as JSON.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let arguments = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", arguments).await?;
        anyhow::ensure!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        Ok(answer["result"]["value"].clone())
    }

    /// Presses and releases a key.
    pub(crate) async fn press(&mut self, key: &str, code: u32) -> Result<()> {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// What the system prefers: `light` or `dark`.
    pub(crate) async fn prefer(&mut self, scheme: &str) -> Result<()> {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await.map(drop)
    }

    /// The width and height of the window in CSS pixels.
    pub(crate) async fn resize(&mut self, width: u32, height: u32) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await.map(drop)
    }

    /// The whole page as PNG.
    pub(crate) async fn screenshot(&mut self) -> Result<Vec<u8>> {
        let answer = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true})).await?;
        let data = answer["data"].as_str().unwrap_or_default();
        Ok(base64::engine::general_purpose::STANDARD.decode(data)?)
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(&message.to_string()).await?;
        let answer = tokio::time::timeout(TIMEOUT, async {
            loop {
                let received: Value = serde_json::from_str(&self.socket.receive().await?)?;
                match received.get("id").and_then(Value::as_u64) {
                    Some(id) if id == self.last_id => return anyhow::Ok(received),
                    _ => self.events.push(received),
                }
            }
        });
        let answer = answer.await??;
        anyhow::ensure!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
        Ok(answer["result"].clone())
    }
}

/// Ends with its value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
