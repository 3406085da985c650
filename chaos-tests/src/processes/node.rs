//! One node as a process of its own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use spine_cluster_config::{Config, Listen, Mode, Node, Security};

use super::{ClusterError, signals};

/// Lines of a log shown when its node ended by itself.
const LOG_TAIL_LINES: usize = 12;

/// A node that may be running.
pub struct NodeProcess {
    pub number: usize,
    pub grpc: String,
    pub peer: String,
    pub admin: String,
    pub data_dir: PathBuf,
    pub log: PathBuf,
    config: PathBuf,
    program: PathBuf,
    child: Option<Child>,
    paused: bool,
}

impl NodeProcess {
    /// Writes the node's settings; nothing is started.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(super) fn new(
        number: usize,
        program: &Path,
        root: &Path,
        ports: [u16; 3],
        mut config: Config,
    ) -> io::Result<Self> {
        let directory = root.join(format!("n{}", number + 1));
        fs::create_dir_all(&directory)?;
        let address = |port: u16| format!("127.0.0.1:{port}");
        let [grpc, peer, admin] = ports.map(address);
        let data_dir = directory.join("data");
        config.node = Node {
            name: format!("n{}", number + 1),
            data_dir: data_dir.clone(),
        };
        config.listen = Listen {
            grpc: grpc.clone(),
            peer: peer.clone(),
            admin: admin.clone(),
            ..Listen::default()
        };
        config.security = Security {
            mode: Mode::Development,
            development_principal: "chaos".to_owned(),
        };
        let file = directory.join("node.toml");
        fs::write(&file, config.to_toml())?;
        Ok(Self {
            number,
            grpc,
            peer,
            admin,
            data_dir,
            log: directory.join("node.log"),
            config: file,
            program: program.to_owned(),
            child: None,
            paused: false,
        })
    }

    /// Starts the process; does not wait until it serves.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self) -> Result<(), ClusterError> {
        if self.child.is_some() {
            return Ok(());
        }
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        self.paused = false;
        Ok(())
    }

    /// The process id; none while it is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it at once and waits for its end.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill(&mut self) -> io::Result<()> {
        self.paused = false;
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.kill()?;
        child.wait().map(|_| ())
    }

    /// Stops it where it is.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pause(&mut self) -> io::Result<()> {
        self.paused = true;
        self.pid().map_or(Ok(()), signals::pause)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn resume(&mut self) -> io::Result<()> {
        self.paused = false;
        self.pid().map_or(Ok(()), signals::resume)
    }

    /// # Errors
    /// It ended without being told to.
    pub fn check_alive(&mut self) -> Result<(), ClusterError> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let tail = format!("{status}; {}", self.log_tail());
                Err(ClusterError::Ended {
                    node: self.number + 1,
                    tail,
                })
            }
        }
    }

    /// The end of its log in one line.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join(" / ")
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
