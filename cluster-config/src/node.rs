//! `[node]`: this process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// More threads wake each other more often than they help: a node waits for disks and peers most of the time.
const WORKERS_DEFAULT_MAX: usize = 4;

/// Who this process is and where it keeps its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Shown in logs; identity comes from the data directory, never from here.
    pub name: String,
    /// What fails together with it: a rack, a hall, a site. Replicas of a shard live in different zones where they can.
    pub zone: String,
    /// Everything this node stores; one process at a time.
    pub data_dir: PathBuf,
    /// Threads that run tasks; 0 = half the processors, 1 to 4. The log, checkpoints and the watch lane have their own.
    pub worker_threads: u64,
}

impl Node {
    /// How many threads run tasks where so many processors are there.
    #[must_use]
    pub fn workers(&self, processors: usize) -> usize {
        match usize::try_from(self.worker_threads) {
            Ok(0) | Err(_) => (processors / 2).clamp(1, WORKERS_DEFAULT_MAX),
            Ok(workers) => workers,
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "node".to_owned(),
            zone: String::new(),
            data_dir: PathBuf::from("data/node"),
            worker_threads: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_threads_unless_somebody_says_how_many() {
        let workers = |worker_threads, processors| {
            let node = Node {
                worker_threads,
                ..Node::default()
            };
            node.workers(processors)
        };
        assert_eq!(
            [workers(0, 1), workers(0, 2), workers(0, 6), workers(0, 64)],
            [1, 1, 3, 4]
        );
        assert_eq!(workers(16, 2), 16);
    }
}
