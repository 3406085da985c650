//! Which disk syncs a node finished, and when, as the kernel saw it.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::signals;

/// One completed `fdatasync`, in nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    pub began_ns: u64,
    pub ended_ns: u64,
    pub file: String,
}

/// Watches a process until dropped or stopped.
pub struct Strace {
    child: Child,
}

/// True where strace can be run at all.
#[must_use]
pub fn is_available() -> bool {
    let run = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}

impl Strace {
    /// Attaches to all threads of a process; one file `PREFIX.TID` for each thread.
    ///
    /// # Errors
    /// strace cannot be started.
    pub fn attach(pid: u32, prefix: &Path) -> io::Result<Self> {
        let child = Command::new("strace")
            .args(["-ff", "-y", "-T", "-ttt", "-e", "trace=fdatasync,fsync", "-o"])
            .arg(prefix)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child })
    }

    /// Detaches, so that everything seen is in the files.
    ///
    /// # Errors
    /// strace cannot be stopped.
    pub fn detach(mut self) -> io::Result<()> {
        signals::terminate(self.child.id())?;
        self.child.wait().map(|_| ())
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = signals::terminate(self.child.id());
        let _ = self.child.wait();
    }
}

/// All successful syncs of all threads, in order of their ends.
///
/// # Errors
/// The files cannot be read.
pub fn read(prefix: &Path) -> io::Result<Vec<Sync>> {
    let directory = prefix.parent().unwrap_or_else(|| Path::new("."));
    let name = prefix
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let mut syncs = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        let ours = file
            .file_name()
            .to_str()
            .is_some_and(|other| other.strip_prefix(name).is_some());
        if ours {
            syncs.extend(std::fs::read_to_string(file.path())?.lines().filter_map(parse));
        }
    }
    syncs.sort_by_key(|sync| sync.ended_ns);
    Ok(syncs)
}

/// `1700000000.123456 fdatasync(7</data/wal/1.seg>) = 0 <0.000456>`
fn parse(line: &str) -> Option<Sync> {
    let (began, rest) = line.split_once(' ')?;
    let (call, rest) = rest.trim_start().split_once('(')?;
    if call != "fdatasync" && call != "fsync" {
        return None;
    }
    let (file, rest) = rest.split_once(')')?;
    let file = file
        .split_once('<')
        .map_or(file, |(_, path)| path.trim_end_matches('>'));
    let rest = rest.trim().strip_prefix("= 0")?;
    let took = rest.trim().trim_start_matches('<').trim_end_matches('>');
    let began_ns = nanoseconds(began)?;
    Some(Sync {
        began_ns,
        ended_ns: began_ns + nanoseconds(took)?,
        file: file.to_owned(),
    })
}

/// Decimal seconds, without the rounding that floating point would bring.
fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 9)?;
    let fraction: u64 = fraction.parse().ok()?;
    let seconds: u64 = seconds.parse().ok()?;
    Some(seconds * 1_000_000_000 + fraction * 10_u64.pow(9 - digits))
}

/// How many nodes finished a sync that also began inside the call.
#[must_use]
pub fn nodes_synced(nodes: &[Vec<Sync>], invoked_ns: u64, returned_ns: u64) -> usize {
    let inside = |sync: &&Sync| sync.began_ns >= invoked_ns && sync.ended_ns <= returned_ns;
    nodes
        .iter()
        .filter(|syncs| syncs.iter().any(|sync| inside(&sync)))
        .count()
}

/// How long strace needs to attach to all threads.
pub const ATTACH_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_failures_left_out() {
        let good = parse("1700000000.123456 fdatasync(7</d/wal/1.seg>) = 0 <0.000456>").unwrap();
        assert_eq!(good.file, "/d/wal/1.seg");
        assert_eq!(good.began_ns, 1_700_000_000_123_456_000);
        assert_eq!(good.ended_ns - good.began_ns, 456_000);
        assert_eq!(
            parse("1700000000.1 fdatasync(7</d>) = -1 EIO (Input/output error) <0.1>"),
            None
        );
        assert_eq!(parse("1700000000.1 +++ exited with 0 +++"), None);
        assert_eq!(parse("1700000000.1 write(7</d>, \"a\", 1) = 1 <0.1>"), None);
    }

    #[test]
    fn a_sync_counts_only_inside_the_call() {
        let sync = |began_ns, ended_ns| Sync {
            began_ns,
            ended_ns,
            file: String::new(),
        };
        let nodes = vec![vec![sync(10, 20)], vec![sync(5, 12), sync(30, 40)], vec![]];
        assert_eq!(nodes_synced(&nodes, 8, 25), 1);
        assert_eq!(nodes_synced(&nodes, 8, 40), 2);
        assert_eq!(nodes_synced(&nodes, 12, 29), 0);
    }

    #[test]
    fn sees_a_real_sync() {
        if !is_available() {
            eprintln!("SKIPPED sees_a_real_sync: strace cannot be run here");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let script = "sleep 1; for i in 1 2 3; do echo $i > f; sync -d f; done; exec sleep 60";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .current_dir(directory.path())
            .spawn()
            .unwrap();
        let prefix = directory.path().join("trace");
        // `sync` is a child of the shell: -ff follows it.
        let strace = Strace::attach(child.id(), &prefix).unwrap();
        std::thread::sleep(ATTACH_TIME);
        strace.detach().unwrap();
        signals::kill(child.id()).unwrap();
        child.wait().unwrap();
        let syncs = read(&prefix).unwrap();
        assert_eq!(syncs.len(), 3, "{syncs:?}");
    }
}
