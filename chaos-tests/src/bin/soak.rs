//! Random faults on real processes for a while, under every checker. A line each minute; exit 0 only if nothing
//! was found.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use spine_chaos_tests::processes::scenario::{SoakOptions, SoakTotal, play, soak, supports};
use spine_chaos_tests::processes::{Cluster, Options};
use spine_chaos_tests::report::{self, Journal, Page};
use spine_chaos_tests::scenario::{Focus, Scenario};

/// Random faults on a cluster of real processes. Exit code 0: nothing found; 1: something found; 2: wrong use.
#[derive(Parser)]
struct Arguments {
    /// How long; the last episode is finished.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Of the first episode; each further one has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    #[arg(long, default_value_t = 8)]
    shards: u32,
    /// What goes wrong.
    #[arg(long, value_enum, default_value = "processes")]
    focus: Focus,
    /// Play this scenario once instead; nodes, shards and seed are its own.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["minutes", "seed", "nodes", "shards", "focus"])]
    script: Option<PathBuf>,
    /// Say every fault before its episode begins.
    #[arg(long)]
    plans: bool,
    /// Where the built programs are; beside this one by default.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.plans {
        tracing_subscriber::fmt().with_writer(io::stderr).init();
    }
    match run(&arguments) {
        Ok(total) if total.problem.is_none() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            let _ = writeln!(io::stderr(), "soak: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<SoakTotal, String> {
    let beside = || {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let directory = own.parent().map(Path::to_path_buf);
        directory.ok_or_else(|| "this program has no directory".to_owned())
    };
    let script = arguments.script.as_deref().map(read).transpose()?;
    for skipped in script.iter().flat_map(|script| script.split(supports).1) {
        let _ = writeln!(io::stderr(), "{skipped}");
    }
    let size = |script: &Scenario| (script.nodes, script.shards, script.seed);
    let own = (arguments.nodes, arguments.shards, arguments.seed);
    let (nodes, shards, seed) = script.as_ref().map_or(own, size);
    let options = Options {
        nodes,
        shards,
        programs: arguments.programs.clone().map_or_else(beside, Ok)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let journal = Journal::default();
    let total = runtime.block_on(async {
        let cluster = Cluster::start_linked(&options, seed).await;
        let mut cluster = cluster
            .map_err(|error| error.to_string())?
            .noted_in(journal.clone());
        let soaking = SoakOptions {
            time: Duration::from_secs(arguments.minutes * 60),
            seed: arguments.seed,
            focus: arguments.focus,
        };
        let tell = |minute, total: &SoakTotal| {
            let _ = writeln!(io::stdout(), "minute {minute}: {total}");
        };
        let total = match &script {
            Some(script) => play(&mut cluster, script).await,
            None => soak(&mut cluster, &soaking, tell).await,
        };
        if total.problem.is_some() {
            cluster.keep_files();
            let _ = writeln!(io::stderr(), "files: {}", cluster.directory().display());
        }
        Ok::<_, String>(total)
    })?;
    let _ = writeln!(io::stdout(), "total: {total}");
    if let (Some(problem), Some(seed)) = (&total.problem, total.failed_seed) {
        let command = replay(arguments, seed);
        let page = Page {
            title: &format!("soak seed {seed}"),
            problem,
            command: &command,
            lines: &[],
        };
        let talk = &mut io::stderr();
        let _ = match report::write(&report::directory(), &page, &journal) {
            Ok(path) => writeln!(talk, "report: {}\nreplay: {command}", path.display()),
            Err(error) => writeln!(talk, "report not written: {error}\nreplay: {command}"),
        };
    }
    Ok(total)
}

fn read(path: &Path) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.parse()
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn replay(arguments: &Arguments, seed: u64) -> String {
    if let Some(script) = &arguments.script {
        return format!("cargo soak --script {}", script.display());
    }
    let focus = arguments.focus.to_possible_value();
    format!(
        "cargo soak --minutes 1 --seed {seed} --nodes {} --shards {} --focus {}",
        arguments.nodes,
        arguments.shards,
        focus
            .as_ref()
            .map_or("processes", clap::builder::PossibleValue::get_name)
    )
}
