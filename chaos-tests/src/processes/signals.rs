//! Signals and memory of a process that this one started.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, kill_process};

/// Ends it at once, without a chance to write anything.
///
/// # Errors
/// No such process, or not ours.
pub fn kill(pid: u32) -> io::Result<()> {
    send(pid, Signal::KILL)
}

/// Asks it to drain and end.
///
/// # Errors
/// No such process, or not ours.
pub fn terminate(pid: u32) -> io::Result<()> {
    send(pid, Signal::TERM)
}

/// Stops it where it is; its connections stay open.
///
/// # Errors
/// No such process, or not ours.
pub fn pause(pid: u32) -> io::Result<()> {
    send(pid, Signal::STOP)
}

/// Lets it go on.
///
/// # Errors
/// No such process, or not ours.
pub fn resume(pid: u32) -> io::Result<()> {
    send(pid, Signal::CONT)
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let raw = i32::try_from(pid).map_err(io::Error::other)?;
    let pid = Pid::from_raw(raw).ok_or_else(|| io::Error::other("0 is no process"))?;
    Ok(kill_process(pid, signal)?)
}

/// Resident memory, bytes.
///
/// # Errors
/// No such process.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no VmRSS in the process's status"))
}

/// True while it has not ended. One that ended and was not waited for has ended.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name in parentheses may hold anything; the state follows the last one.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn pauses_resumes_and_kills() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        assert!(is_running(pid));
        assert!(resident_bytes(pid).unwrap() > 0);
        pause(pid).unwrap();
        assert!(is_running(pid));
        resume(pid).unwrap();
        kill(pid).unwrap();
        child.wait().unwrap();
        assert!(!is_running(pid));
        assert!(resident_bytes(pid).is_err());
    }
}
