//! Random faults on real processes for a while, under every checker. A line each minute; exit 0 only if nothing
//! was found.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use spine_chaos_tests::processes::scenario::{SoakOptions, SoakTotal, soak};
use spine_chaos_tests::processes::{Cluster, Options};
use spine_chaos_tests::report::{self, Journal, Page};

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
    let options = Options {
        nodes: arguments.nodes,
        shards: arguments.shards,
        programs: arguments.programs.clone().map_or_else(beside, Ok)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let journal = Journal::default();
    let total = runtime.block_on(async {
        let cluster = Cluster::start_linked(&options, arguments.seed).await;
        let mut cluster = cluster
            .map_err(|error| error.to_string())?
            .noted_in(journal.clone());
        let soaking = SoakOptions {
            time: Duration::from_secs(arguments.minutes * 60),
            seed: arguments.seed,
            chosen: |_| true,
        };
        let total = soak(&mut cluster, &soaking, |minute, total| {
            let _ = writeln!(io::stdout(), "minute {minute}: {total}");
        })
        .await;
        if total.problem.is_some() {
            cluster.keep_files();
            let _ = writeln!(io::stderr(), "files: {}", cluster.directory().display());
        }
        Ok::<_, String>(total)
    })?;
    let _ = writeln!(io::stdout(), "total: {total}");
    if let (Some(problem), Some(seed)) = (&total.problem, total.failed_seed) {
        let command = format!(
            "cargo soak --minutes 1 --seed {seed} --nodes {} --shards {}",
            arguments.nodes, arguments.shards
        );
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
