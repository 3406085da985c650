//! Mounts a fault disk and obeys the lines on stdin until they end.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use spine_faultdisk::{Command, Mounted};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Orders read and not yet carried out; each waits for the answer to the one before.
const ORDERS_MAX: usize = 1;

const USAGE: &str = "usage: faultdisk DIRECTORY
Mounts an empty disk there, and takes orders from stdin, one a line:
  power-cut [clean|torn SEED]     unsynced data and names are gone; everything fails until power-on
  power-cut-after N [...]         the same, during the change that comes after N others
  power-on
  stall-fsync MS|forever          every fsync waits
  fail-fsync once|always          EIO, and what was not synced is lost
  slow MS                         every read, write and fsync
  full [FREE_BYTES]               ENOSPC for what would take more
  corrupt-read PART               one bit of every read of files whose path contains PART
  heal                            ends all of these except a power cut
  counters
  quit                            as the end of stdin: kills who uses the disk, unmounts
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        let _ = write!(io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    match run(&PathBuf::from(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            answer(&format!("error {error}"));
            ExitCode::FAILURE
        }
    }
}

fn answer(text: &str) {
    let mut out = io::stdout();
    // Whoever does not read any more has ended, which the end of stdin tells.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn run(directory: &std::path::Path) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut ends = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        let [interrupt, terminate, hangup] = &mut ends;
        let mounted = Mounted::new(directory)?;
        answer(&format!("ok {}", mounted.order(Command::Counters)));
        let mut lines = lines()?;
        loop {
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = interrupt.recv() => None,
                _ = terminate.recv() => None,
                _ = hangup.recv() => None,
            };
            let Some(line) = line else { break };
            match line.parse() {
                Ok(Command::Quit) => break,
                Ok(command) => answer(&format!("ok {}", mounted.order(command))),
                Err(why) => answer(&format!("error {why}")),
            }
        }
        drop(mounted);
        Ok(())
    })
}

/// Lines of stdin, from a thread of their own: reading it cannot be interrupted.
fn lines() -> io::Result<mpsc::Receiver<String>> {
    let (to, from) = mpsc::channel(ORDERS_MAX);
    std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || {
            for line in io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                if to.blocking_send(line).is_err() {
                    break;
                }
            }
        })?;
    Ok(from)
}
