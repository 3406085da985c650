//! A node runs no other program.
//!
//! sled would: it runs `sync`, twice for each replica that it opens, and goes on where there is no such program. That
//! makes the whole machine write out whatever any process on it has written, which other nodes and other databases on it
//! wait for; what a replica needs on the disk is made durable by `storage/engine/sled_files.rs`. Programs are found
//! through the environment, which a process can change only for the next one, so the process begins anew.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const PATH: &str = "PATH";
/// An empty or missing path would mean the current directory, or `/bin`.
const NOWHERE: &str = "/nonexistent";

/// Begins this process anew, with the same arguments and number, so that it finds no programs; returns if it is so
/// already. Call it before there are threads.
///
/// # Errors
/// The program is gone, or cannot be run again; the process goes on as it was.
pub fn begin_anew_without() -> io::Result<()> {
    if env::var_os(PATH).is_some_and(|path| path == NOWHERE) {
        return Ok(());
    }
    Err(run_again())
}

/// Begins this process anew in the same way, as after a crash, with whatever threads there are; ends it where that cannot
/// be.
pub fn begin_anew() -> ! {
    let error = run_again();
    tracing::error!(%error, "this process cannot begin anew");
    std::process::exit(1)
}

/// Returns only why it cannot be done.
fn run_again() -> io::Error {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut arguments = env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    again.args(arguments).env(PATH, NOWHERE).exec()
}
