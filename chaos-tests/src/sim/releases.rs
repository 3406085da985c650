//! Which release each simulated node runs as. Releases are data: what sets them apart is what a program says of itself.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use spine_client::upgrade::Program;
use spine_consensus::transport::WireRange;
use spine_node::version::Release;
use spine_statemachine::LevelRange;

/// Three releases, each of which goes together with the one before it, and the first not with the last.
#[must_use]
pub fn three() -> Vec<Release> {
    let release = |name: &str, wire: (u32, u32), level_max, stored_format| Release {
        name: name.to_owned(),
        commit: "simulated".to_owned(),
        stored_format,
        wire: WireRange {
            min: wire.0,
            max: wire.1,
        },
        levels: LevelRange {
            min: 0,
            max: level_max,
        },
    };
    vec![
        release("1", (1, 1), 1, 1),
        release("2", (1, 2), 2, 1),
        release("3", (2, 3), 3, 2),
    ]
}

/// The place of a release, as nodes are told to run it.
#[must_use]
pub fn path_of(release: &Release) -> PathBuf {
    Path::new("/releases").join(&release.name)
}

/// What `--version` of the release would say.
#[must_use]
pub fn program_of(release: &Release) -> Program {
    Program {
        path: path_of(release),
        release: release.name.clone(),
        commit: release.commit.clone(),
        stored_format: release.stored_format,
        wire_min: release.wire.min,
        wire_max: release.wire.max,
        level_min: release.levels.min,
        level_max: release.levels.max,
    }
}

/// What each node runs as from its next start on, and nodes that are to be restarted now.
#[derive(Clone)]
pub(super) struct Releases {
    of_nodes: Rc<RefCell<Vec<Release>>>,
    restarts: Rc<RefCell<Vec<usize>>>,
}

impl Releases {
    /// All nodes run as this one.
    pub(super) fn all(nodes: usize, release: &Release) -> Self {
        Self {
            of_nodes: Rc::new(RefCell::new(vec![release.clone(); nodes])),
            restarts: Rc::default(),
        }
    }

    pub(super) fn of(&self, node: usize) -> Release {
        self.of_nodes.borrow()[node].clone()
    }

    /// From its next start on.
    pub(super) fn set(&self, node: usize, release: Release) {
        self.of_nodes.borrow_mut()[node] = release;
    }

    /// Whoever runs the machines restarts it at the next tick.
    pub(super) fn restart(&self, node: usize) {
        self.restarts.borrow_mut().push(node);
    }

    pub(super) fn take_restarts(&self) -> Vec<usize> {
        self.restarts.take()
    }
}
