//! `spinectl`: everything an operator does to a cluster. Data on stdout, talk on stderr.

mod args;
mod commands;
mod context;
mod exit;
mod output;

use std::process::ExitCode;

use clap::Parser as _;

use args::Args;
use context::Context;

// As in the node, so that a measurement is not of the generator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    talk_on_stderr(args.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::talk(format_args!("spinectl: no runtime: {error}"));
            return exit::Exit::Generic.into();
        }
    };
    let context = Context::new(&args);
    match runtime.block_on(commands::run(&context, args.command)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::talk(format_args!("spinectl: {}", failure.message));
            failure.exit.into()
        }
    }
}

fn talk_on_stderr(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .init();
}
