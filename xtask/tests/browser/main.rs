//! The page of the demo in a real Chromium. `cargo xtask test --browser` provides the module, the Envoy and the path of the browser.

#![allow(clippy::expect_used, reason = "a test that is wrong must fail loudly")]

mod chromium;

use chromium::Chromium;
use serde_json::Value;
use sidespan_harness::{Result, envoy_binary, provide};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Windows that are looked at: a desktop and a phone.
const WIDTHS: [u32; 2] = [1280, 400];

#[test]
fn the_page_shows_the_observed_traces_without_network_or_errors() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let page = demo(folder.path())?;
    let spans = spans_by_trace(&folder.path().join("demo/traces.json"))?;
    sidespan_harness::run(async {
        let mut browser = Chromium::start(&program()?).await?;
        let address = format!("file://{}", page.display());
        browser.resize(WIDTHS[0], 900).await?;
        browser.prefer("light").await?;
        browser.open(&address).await?;
        has_all_spans(&mut browser, &spans).await?;
        a_span_shows_its_tags(&mut browser).await?;
        both_schemes_can_be_read(&mut browser, &address).await?;
        let problems: Vec<&Value> = browser.events.iter().filter(|event| is_problem(event, &address)).collect();
        assert!(problems.is_empty(), "{problems:#?}");
        Ok(())
    })
}

/// Runs the demo for two seconds and returns the path of its page. (With fewer requests, head sampling could select all failing ones of a kind.)
fn demo(folder: &Path) -> Result<PathBuf> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["demo", "--seconds", "2"]).current_dir(folder).env("CARGO_TARGET_DIR", folder);
    let output = command.env("SIDESPAN_WASM", provide::module()?).env("ENVOY_BIN", envoy_binary()?).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.join("demo/index.html"))
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("CHROMIUM_BIN").filter(|path| !path.is_empty());
    path.map(PathBuf::from).ok_or_else(|| anyhow::anyhow!("CHROMIUM_BIN is not set: run `cargo xtask test --browser`"))
}

/// The numbers of spans by trace id, in the file that the demo wrote beside the page.
fn spans_by_trace(file: &Path) -> Result<BTreeMap<String, u64>> {
    let document: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut counts = BTreeMap::new();
    for span in list(&document, "resourceSpans")
        .iter()
        .flat_map(|resource| list(resource, "scopeSpans"))
        .flat_map(|scope| list(&scope, "spans"))
    {
        *counts.entry(span["traceId"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// A waterfall for each kind of trace, and a row for each span that was exported.
async fn has_all_spans(browser: &mut Chromium, exported: &BTreeMap<String, u64>) -> Result<()> {
    let shown = browser
        .evaluate(
            "Object.fromEntries([...document.querySelectorAll('article')].map(trace => [trace.dataset.trace, trace.querySelectorAll('details.span').length]))",
        )
        .await?;
    let shown: BTreeMap<String, u64> = serde_json::from_value(shown)?;
    assert_eq!(shown.len(), 5, "one trace of each kind: {shown:?}");
    for (trace, count) in &shown {
        assert_eq!(exported.get(trace), Some(count), "spans of {trace}");
    }
    let bars = "[...document.querySelectorAll('.bar')].every(bar => bar.getBoundingClientRect().width > 0)";
    assert_eq!(browser.evaluate(bars).await?, true, "every span has a visible bar");
    Ok(())
}

/// A click and the keyboard open a span.
async fn a_span_shows_its_tags(browser: &mut Chromium) -> Result<()> {
    let visible = "document.querySelector('details.span .tags').checkVisibility()";
    assert_eq!(browser.evaluate(visible).await?, false, "tags are hidden at first");
    browser.evaluate("document.querySelector('details.span summary').click()").await?;
    assert_eq!(browser.evaluate(visible).await?, true, "a click shows them");
    let text = browser.evaluate("document.querySelector('details.span .tags').innerText").await?;
    for tag in ["url.path", "/checkout/", "tenant", "http.response.status_code", "k8s.namespace.name"] {
        assert!(text.as_str().is_some_and(|text| text.contains(tag)), "{tag} in {text}");
    }
    browser.evaluate("document.querySelector('details.span summary').focus()").await?;
    browser.press("Enter", 13).await?;
    assert_eq!(browser.evaluate(visible).await?, false, "Enter hides them again");
    browser.press("Tab", 9).await?;
    let second = "document.activeElement === document.querySelectorAll('details.span summary')[1]";
    assert_eq!(browser.evaluate(second).await?, true, "Tab goes to the next span");
    let headers = "document.querySelector('article:last-of-type .headers').innerText";
    browser.evaluate("document.querySelector('article:last-of-type .headers').open = true").await?;
    let headers = browser.evaluate(headers).await?;
    for header in ["x-b3-traceid", "a3ce929d0e0e4736", "traceparent", "backend application", "removed"] {
        assert!(headers.as_str().is_some_and(|text| text.contains(header)), "{header} in {headers}");
    }
    Ok(())
}

/// Text has the contrast that WCAG 2 demands at level AA, in both schemes; nothing is wider than the window.
async fn both_schemes_can_be_read(browser: &mut Chromium, address: &str) -> Result<()> {
    let mut pictures = Vec::new();
    browser.evaluate("document.activeElement.blur()").await?;
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await?;
        for width in WIDTHS {
            browser.resize(width, 900).await?;
            let wide = browser.evaluate("document.documentElement.scrollWidth - innerWidth").await?;
            assert_eq!(wide, 0, "{address} at {width} pixels");
            let low = browser.evaluate(include_str!("contrast.js")).await?;
            assert_eq!(low, Value::Array(Vec::new()), "{scheme} at {width} pixels: texts with a low contrast");
            let picture = browser.screenshot().await?;
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-{scheme}-{width}.png"));
            std::fs::write(&file, &picture)?;
            println!("{}", file.display());
            pictures.push(picture);
        }
    }
    assert!(pictures.iter().all(|picture| picture.starts_with(b"\x89PNG") && picture.len() > 20_000));
    assert!(pictures[0] != pictures[2] && pictures[1] != pictures[3], "the schemes differ");
    let background = "getComputedStyle(document.body).backgroundColor";
    let dark = browser.evaluate(background).await?;
    browser.evaluate("document.getElementById('scheme').click()").await?;
    assert_ne!(browser.evaluate(background).await?, dark, "the button switches the scheme");
    Ok(())
}

/// Errors and warnings of the page, and requests other than for the page itself.
fn is_problem(event: &Value, address: &str) -> bool {
    let params = &event["params"];
    match event["method"].as_str().unwrap_or_default() {
        "Runtime.exceptionThrown" => true,
        "Runtime.consoleAPICalled" => params["type"] == "error" || params["type"] == "warning",
        "Log.entryAdded" => params["entry"]["level"] == "error" || params["entry"]["level"] == "warning",
        "Network.requestWillBeSent" => params["request"]["url"] != address,
        _ => false,
    }
}
