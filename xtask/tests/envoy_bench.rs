//! The benchmark as a whole, with too few rounds to say anything: every variant makes the spans that its name promises.

use sidespan_harness::provide::Shell;
use sidespan_harness::{Result, envoy_binary};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The report of a benchmark with too few rounds, and what was printed.
fn bench(folder: &Path, arguments: &[&str]) -> Result<(String, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["bench", "--unoptimised", "--rounds", "4"]).args(arguments);
    command.current_dir(folder).env("CARGO_TARGET_DIR", folder);
    for shell in Shell::ALL {
        command.env(shell.variable(), shell.file()?);
    }
    command.env("ENVOY_BIN", envoy_binary()?);
    let output = command.output()?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    Ok((fs::read_to_string(folder.join("bench/report.md"))?, text.into_owned()))
}

#[test]
fn a_short_benchmark_writes_a_report_and_a_chart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let variants = ["sidespan 100 %", "sidespan 10 %", "sidespan module", "native"];
    let variants: Vec<_> = variants.into_iter().flat_map(|variant| ["--variant", variant]).collect();
    let arguments = [&["--part", "cost", "--scenario", "http2-40-errors"][..], &variants].concat();
    let (report, text) = bench(folder.path(), &arguments)?;
    for expected in [
        "| CPU added: sidespan 100 % ÷ native OpenTelemetry 100 % | 0.60 |",
        "HTTP/2, 40 request headers, 5 % errors, inbound",
        "| sidespan 100 %, every option |",
        "| no-op wasm, stripped |",
        "| CPU added: sidespan module 100 % ÷ native OpenTelemetry 100 % | 0.50 |",
        "| no-op module |",
    ] {
        assert!(report.contains(expected) && text.contains(expected), "{expected}\n{report}");
    }
    let spans = |variant: &str| {
        let row = report.lines().find(|line| line.starts_with(&format!("| {variant} | ")));
        row.and_then(|row| row.trim_end_matches(" |").rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert_eq!((spans("no tracing"), spans("sidespan 100 %")), (Some(0.0), Some(1.0)), "{report}");
    assert_eq!(spans("sidespan module 100 %"), Some(1.0), "{report}");
    // One in ten, and one in twenty that fails.
    assert!(spans("sidespan 10 %").is_some_and(|spans| (0.1..0.2).contains(&spans)), "{report}");
    let chart = fs::read_to_string(folder.path().join("bench/cost.svg"))?;
    assert!(chart.contains("<svg") && chart.contains("native OpenTelemetry 1 %"), "{chart}");
    Ok(())
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_is_built() -> Result<()> {
    for (arguments, expected) in [
        (&["--rounds", "1"][..], "--rounds must be at least 4"),
        (&["--scenario", "http3"], "none of http1-10-ok-inbound, http1-10-ok-outbound"),
        (&["--module", "old"], "give NAME=PATH"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let output = command.args(["bench", "--unoptimised"]).args(arguments).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(expected), "{arguments:?}: {errors}");
    }
    Ok(())
}

/// `cargo xtask test --no-collector` leaves these out.
#[cfg(target_os = "linux")]
mod collector {
    use super::*;

    #[test]
    fn every_way_to_keep_all_errors_keeps_them_and_is_paid_for() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (report, _) = bench(folder.path(), &["--part", "tail-sampling"])?;
        let cells = |name: &str| -> Vec<&str> {
            let row = report.lines().find_map(|line| line.strip_prefix("| ").filter(|row| row.starts_with(name)));
            row.unwrap_or_else(|| panic!("no {name} in:\n{report}")).split(" | ").collect()
        };
        // The benchmark itself fails if a span of a failing request is missing.
        let sampling = ["native OpenTelemetry 100 %, the collector", "the same, 512"];
        for name in sampling.into_iter().chain(["sidespan 1 %, error bias", "sidespan module 1 %, error bias"]) {
            let cells = cells(name);
            let (collector, spans): (f64, f64) = (cells[2].parse()?, cells[4].parse()?);
            assert!((0.06..0.25).contains(&spans) && collector > 0.0, "{report}");
        }
        assert!(report.contains("| CPU added | proxies and collector |"), "{report}");
        assert_eq!(cells("no tracing")[4], "0.000", "{report}");
        Ok(())
    }
}
