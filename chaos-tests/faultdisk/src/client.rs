//! Starts the program that holds a disk, and gives it orders.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::mount::{UnmountFlags, unmount};

use crate::command::{Command, Counters, Cut};
use crate::mount::clear_stale;

/// The program unmounts and ends within this, or is killed.
const END_TIME: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Why a disk could not be mounted or did not obey.
#[derive(Debug, thiserror::Error)]
pub enum FaultDiskError {
    /// The program could not be started, or it ended.
    #[error("the fault disk at {directory}: {source}")]
    Io { directory: PathBuf, source: io::Error },
    /// It says what is wrong.
    #[error("the fault disk at {directory} answers: {answer}")]
    Refused { directory: PathBuf, answer: String },
}

struct Pipes {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A mounted disk in a process of its own. Dropping it ends whoever uses the disk, unmounts, and ends the process;
/// so does the end of this process, however it comes.
pub struct FaultDisk {
    directory: PathBuf,
    child: Child,
    pipes: Mutex<Option<Pipes>>,
}

impl FaultDisk {
    /// Mounts an empty disk on an existing directory. `program` is the built `faultdisk`.
    ///
    /// # Errors
    /// It cannot be started or mounted.
    pub fn mount(program: &Path, directory: &Path) -> Result<Self, FaultDiskError> {
        clear_stale();
        let failed = |source| FaultDiskError::Io {
            directory: directory.to_owned(),
            source,
        };
        let mut child = Process::new(program)
            .arg(directory)
            // Ctrl-C is for the parent; its end then reaches the disk as the end of stdin.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let pipes = match (child.stdin.take(), child.stdout.take()) {
            (Some(orders), Some(answers)) => Some(Pipes {
                orders,
                answers: BufReader::new(answers),
            }),
            _ => None,
        };
        let disk = Self {
            directory: directory.to_owned(),
            child,
            pipes: Mutex::new(pipes),
        };
        disk.answer()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process that holds the disk.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order and waits until it holds.
    ///
    /// # Errors
    /// The process ended or refuses.
    pub fn order(&self, command: &Command) -> Result<Counters, FaultDiskError> {
        self.with_pipes(|pipes| writeln!(pipes.orders, "{command}"))?;
        self.answer()
    }

    /// Turns the power off; see [`Command::PowerCut`].
    ///
    /// # Errors
    /// As for [`FaultDisk::order`].
    pub fn power_cut(&self, cut: Cut) -> Result<(), FaultDiskError> {
        self.order(&Command::PowerCut(cut)).map(drop)
    }

    /// Turns it on again.
    ///
    /// # Errors
    /// As for [`FaultDisk::order`].
    pub fn power_on(&self) -> Result<(), FaultDiskError> {
        self.order(&Command::PowerOn).map(drop)
    }

    /// Ends every trouble but a power cut.
    ///
    /// # Errors
    /// As for [`FaultDisk::order`].
    pub fn heal(&self) -> Result<(), FaultDiskError> {
        self.order(&Command::Heal).map(drop)
    }

    /// What was asked of the disk so far.
    ///
    /// # Errors
    /// As for [`FaultDisk::order`].
    pub fn counters(&self) -> Result<Counters, FaultDiskError> {
        self.order(&Command::Counters)
    }

    fn with_pipes<T>(&self, use_them: impl FnOnce(&mut Pipes) -> io::Result<T>) -> Result<T, FaultDiskError> {
        let mut pipes = self.pipes.lock();
        let used = match pipes.as_mut() {
            Some(pipes) => use_them(pipes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        used.map_err(|source| FaultDiskError::Io {
            directory: self.directory.clone(),
            source,
        })
    }

    fn answer(&self) -> Result<Counters, FaultDiskError> {
        let line = self.with_pipes(|pipes| {
            let mut line = String::new();
            if pipes.answers.read_line(&mut line)? == 0 {
                return Err(io::Error::other("it ended"));
            }
            Ok(line)
        })?;
        let answer = line.trim();
        let counters = answer.strip_prefix("ok ").and_then(|text| text.parse().ok());
        counters.ok_or_else(|| FaultDiskError::Refused {
            directory: self.directory.clone(),
            answer: answer.to_owned(),
        })
    }

    fn wait_end(&mut self) -> bool {
        let end = Instant::now() + END_TIME;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return true;
            }
            thread::sleep(POLL);
        }
        false
    }
}

impl Drop for FaultDisk {
    fn drop(&mut self) {
        // The end of its orders ends the process.
        drop(self.pipes.lock().take());
        if !self.wait_end() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // Where it unmounted, as it should have, nothing is there to unmount.
        if is_mounted(&self.directory) {
            let _ = unmount(&self.directory, UnmountFlags::DETACH);
        }
    }
}

fn is_mounted(directory: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let wanted = directory.to_string_lossy();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(wanted.as_ref()))
}
