//! `cargo xtask`: the development commands of sidespan. Each works in a fresh checkout.

mod bench;
mod build;
mod cargo;
mod collector;
mod demo;
mod envoy;
mod go;
mod image;
mod istio;
mod library;
mod prometheus;
mod shell;
mod steps;
mod target;
mod test;
mod wasm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Development commands of sidespan. Each command works in a fresh checkout: it builds the module, provides an Envoy, and
/// stops what it started.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true, after_help = ENVIRONMENT)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build target/sidespan.wasm, without unused exports, and target/libsidespan.so, the dynamic module; check what they need
    Build(build::Arguments),
    /// Run all tests: unit, property, in-process host, documentation, real Envoy
    Test(test::Arguments),
    /// Print the path of an Envoy binary; download it once if this machine has none
    Envoy(envoy::Arguments),
    /// Print the path of an OpenTelemetry Collector for tests and benchmark; build it once from its Go modules (needs Go)
    Collector,
    /// Start a three-service mesh with an Envoy beside each service, send it traffic, and show the traces and the sampling account
    Demo(demo::Arguments),
    /// Start the demo's mesh under a real Istio (API server, istiod, pilot-agent; no cluster) with wasmplugin.yaml (needs Go)
    Istio(istio::Arguments),
    /// Write the module as an OCI image, without Docker; push it, pin its digest
    Image(image::Arguments),
    /// Measure what tracing costs in a real Envoy: CPU, latency and memory, compared with no tracing, native tracers, and a
    /// collector with tail sampling (which needs Go)
    Bench(bench::Arguments),
}

const ENVIRONMENT: &str = "Environment:
  ENVOY_BIN         the Envoy binary to use, instead of looking for one
  COLLECTOR_BIN     the OpenTelemetry Collector to test and measure with, instead of building one
  CHROMIUM_BIN      the browser for `test --browser` and `demo --picture`, instead of looking for one
  SIDESPAN_SHELL    wasm or module: the default of --shell
  SIDESPAN_WASM     the wasm module that tests, demo and benchmark load, instead of target/sidespan.wasm (`test` sets it)
  SIDESPAN_MODULE   the dynamic module that they load, instead of target/libsidespan.so (`test` sets it)
  CARGO_TARGET_DIR  the folder to use instead of target/";

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Build(arguments) => build::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Envoy(arguments) => envoy::run(&arguments),
        Command::Collector => collector::run(),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Istio(arguments) => istio::run(&arguments),
        Command::Image(arguments) => image::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
