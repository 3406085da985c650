//! Runs the acceptance rows. Results go to stdout, talk to stderr; exit 0 only if no row failed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use spine_chaos_tests::prove::{
    Context, Format, Total, Verdict, list, print_header, print_result, print_total, rows, run, select,
};
use spine_chaos_tests::report::{Journal, SlowCalls};

/// One row for each claim that a machine can check. Exit code 0: none failed; 1: some failed; 2: wrong use.
#[derive(Parser)]
struct Arguments {
    /// Show the rows and stop.
    #[arg(long)]
    list: bool,
    /// Only rows of this issue.
    #[arg(long)]
    issue: Option<u32>,
    /// Only this row; may be given several times.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Fewer rounds: a sample of each claim, for every commit.
    #[arg(long)]
    quick: bool,
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
    /// What the nodes of rows about storage keep records in: sled or fjall.
    #[arg(long, default_value = "sled")]
    engine: String,
    /// Where the built programs are; beside this one by default.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match prove(&arguments) {
        Ok(code) => code,
        Err(message) => {
            let _ = writeln!(io::stderr(), "prove: {message}");
            ExitCode::from(2)
        }
    }
}

fn prove(arguments: &Arguments) -> Result<ExitCode, String> {
    let chosen = select(rows::ROWS, arguments.issue, &arguments.only)?;
    let out = &mut io::stdout();
    let told = |error: io::Error| error.to_string();
    if arguments.list {
        list(out, &chosen, arguments.output).map_err(told)?;
        return Ok(ExitCode::SUCCESS);
    }
    let context = context(arguments)?;
    let mut total = Total::default();
    let mut failed = Vec::new();
    print_header(out, arguments.output).map_err(told)?;
    for row in chosen {
        let _ = writeln!(io::stderr(), "{} ...", row.id);
        let result = run(row, &context);
        total.add(result.verdict);
        print_result(out, &result, arguments.output).map_err(told)?;
        if let Some(report) = &result.report {
            let _ = writeln!(io::stderr(), "report: {report}");
        }
        if result.verdict == Verdict::Fail {
            failed.push(result);
        }
    }
    print_total(out, total, arguments.output).map_err(told)?;
    // Once more at the end: of a long output people and machines keep the end.
    for result in &failed {
        let _ = writeln!(io::stderr(), "FAILED {}: {}", result.id, result.measured);
        for call in &result.slow_calls {
            let _ = writeln!(io::stderr(), "  slow call: {call}");
        }
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn context(arguments: &Arguments) -> Result<Context, String> {
    let beside = || {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        own.parent()
            .map(Path::to_path_buf)
            .ok_or_else(|| "this program has no directory".to_owned())
    };
    let programs = arguments.programs.clone().map_or_else(beside, Ok)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    Ok(Context {
        quick: arguments.quick,
        engine: arguments.engine.clone(),
        programs,
        root,
        journal: Journal::default(),
        slow_calls: SlowCalls::listen(),
    })
}
