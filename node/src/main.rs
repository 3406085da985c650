//! `spine-node`: arguments, settings, logs; then a node until a signal.

use std::mem::ManuallyDrop;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use futures_util::FutureExt as _;
use spine_cluster_config::Config;
use spine_consensus::net::TokioNet;
use spine_consensus::transport::WatchDriver;
use spine_node::args::Args;
use spine_node::clock::SystemClock;
use spine_node::data_dir::{Lock, check_space};
use spine_node::no_programs;
use spine_node::node::Parts;
use spine_node::start::Node;
use spine_node::telemetry::{logging, process};
use spine_node::version::Release;
use spine_storage::Driver;
use spine_storage::disk::RealDisk;
use spine_storage::engine::factory_by_name;
use tokio::signal::unix::{SignalKind, signal};

// Chosen by measurement: docs/benchmarks.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = Args::parse();
    match args.answer(&mut std::io::stdout(), &mut std::io::stderr()) {
        Ok(None) => {}
        Ok(Some(code)) => return ExitCode::from(code),
        Err(_) => return ExitCode::FAILURE,
    }
    match start(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            // Logs may not be up yet; an operator must see this one.
            let _ = writeln!(std::io::stderr(), "spine-node: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<(), Failure> {
    let config = args.load()?;
    config.check_start()?;
    let level = logging::init(config.telemetry.log_format, &config.telemetry.log_level)?;
    if let Err(error) = no_programs::begin_anew_without() {
        tracing::warn!(%error, "the path to other programs stays; each replica that opens will sync the whole machine");
    }
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    process::use_small_pages();
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.node.workers(processors))
        .enable_all()
        .build()?;
    // Never dropped: when it ends, everything that must be on the disk is there, and the kernel takes a process's memory
    // back at once. Freed piece by piece it cost 75 ms of a processor that others on the machine may need.
    let runtime = ManuallyDrop::new(runtime);
    runtime.block_on(run(config, level))
}

/// A development setting lets a node play the release before this one.
fn release_of(config: &Config) -> Release {
    if config.development.previous_release {
        Release::previous()
    } else {
        Release::this()
    }
}

async fn run(config: Config, level: logging::LevelHandle) -> Result<(), Failure> {
    // Until the process is gone: what still runs when this function ends may write.
    let _lock = ManuallyDrop::new(Lock::take(&config.node.data_dir)?);
    check_space(&RealDisk, &config.node.data_dir, config.storage.min_free_bytes)?;
    let engine = config.storage.engine.to_string();
    let parts = Parts {
        disk: Arc::new(RealDisk),
        net: Arc::new(TokioNet),
        clock: Arc::new(SystemClock),
        engine: factory_by_name(&engine).ok_or_else(|| format!("no engine is called {engine}"))?,
        storage_driver: Driver::Threads,
        watch_driver: WatchDriver::Thread,
        seed: rand::random(),
        release: release_of(&config),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Not dropped, as the runtime is not.
    let node = ManuallyDrop::new(Node::start(config, parts, Some(level)).await?);
    tracing::info!("serving");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        reason = node.fatal() => {
            tracing::error!(reason, "this node cannot go on");
            return Err(reason.into());
        }
    }
    tracing::info!("stopping");
    tokio::select! {
        () = node.stop() => {}
        // A second signal means now.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if let Some(reason) = node.fatal().now_or_never() {
        tracing::error!(reason, "this node has stopped, and not as it should");
        return Err(reason.into());
    }
    tracing::info!("stopped");
    Ok(())
}
