//! `sidespan`: checks configurations before they ship, and explains what the filter would do with a request.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use sidespan_cli::{check, explain, schema};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Correct, cheap traces from every Istio sidecar: checks and explains the sidespan filter.
#[derive(Parser)]
#[command(name = "sidespan", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks plugins, configurations of Envoy, and `pluginConfig`s; exits with 1 on any error.
    ///
    /// Known are WasmPlugin, TrafficExtension, EnvoyFilter and EnvoyExtensionPolicy resources, configurations of Envoy, and a
    /// `pluginConfig` alone, as YAML or JSON. Other documents are passed over with a note. docs/check.md explains each finding.
    Check {
        /// Files and folders (all *.yaml, *.yml and *.json in them); `-` is standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Exits with 1 on warnings too.
        #[arg(long)]
        strict: bool,
        /// How findings are written.
        #[arg(long, value_enum, default_value_t)]
        output: check::Format,
        /// Istio's root namespace: plugins in it apply to the whole mesh.
        #[arg(long, default_value = check::ROOT_NAMESPACE)]
        root_namespace: String,
    },
    /// Shows what the filter would do with each request: JSON lines on standard input, JSON lines on standard output.
    ///
    /// Only `request` must be there: {"config": {…}, "direction": "inbound|outbound|gateway", "node": {"metadata": {…}},
    /// "request": {"headers": [["traceparent", "…"]], "path": "/", "method": "GET"}, "response": {"status": 503,
    /// "grpcStatus": null, "flags": ["UF"], "headers": [], "durationMs": 12}, "marked": false}. A bad line is answered with
    /// {"error": "…", "line": n}, the rest goes on, and the exit code is 1.
    Explain {
        /// A readable form instead of JSON.
        #[arg(long)]
        pretty: bool,
    },
    /// Prints the JSON Schema of `pluginConfig`.
    Schema {
        /// The schema of the whole WasmPlugin instead.
        #[arg(long)]
        wasmplugin: bool,
        /// The schema of the whole TrafficExtension instead (Istio 1.30 and newer).
        #[arg(long, conflicts_with = "wasmplugin")]
        traffic_extension: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever read us has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sidespan: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all was well.
fn run(command: Command) -> Result<bool> {
    let mut out = BufWriter::new(io::stdout().lock());
    let good = match command {
        Command::Check { files, strict, output, root_namespace } => {
            let outcome = check::check_files(&files, &root_namespace);
            outcome.write(output, &mut out)?;
            out.flush()?;
            if output == check::Format::Text {
                eprintln!("{}", outcome.summary());
            }
            outcome.is_good(strict)
        }
        Command::Explain { pretty } => {
            explain::run(BufReader::new(io::stdin().lock()), &mut out, pretty).context("standard input or output")?
        }
        Command::Schema { wasmplugin, traffic_extension } => {
            let schema = if traffic_extension { schema::traffic_extension() } else { schema::schema(wasmplugin) };
            writeln!(out, "{schema:#}")?;
            true
        }
    };
    out.flush()?;
    Ok(good)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
