//! Names: as programs see them, and as a power cut would leave them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use rand_chacha::ChaCha8Rng;

use crate::content::Fate;

/// Entries of one directory, by name.
pub(crate) type Entries = BTreeMap<OsString, u64>;

/// One directory.
#[derive(Default)]
pub(crate) struct Dir {
    pub(crate) seen: Entries,
    pub(crate) durable: Entries,
    pub(crate) parent: u64,
}

/// All directories by inode number, and what changed in them and is not durable, in order.
#[derive(Default)]
pub(crate) struct Dirs {
    pub(crate) all: BTreeMap<u64, Dir>,
    changes: Vec<Change>,
}

enum Change {
    Create {
        dir: u64,
        name: OsString,
        ino: u64,
    },
    /// Becomes durable with the directory it goes to.
    Rename {
        from: (u64, OsString),
        to: (u64, OsString),
        ino: u64,
    },
    Remove {
        dir: u64,
        name: OsString,
    },
}

impl Change {
    /// The directory whose fsync makes it durable.
    fn dir(&self) -> u64 {
        match self {
            Self::Create { dir, .. } | Self::Remove { dir, .. } => *dir,
            Self::Rename { to, .. } => to.0,
        }
    }

    fn ino(&self) -> Option<u64> {
        match self {
            Self::Create { ino, .. } | Self::Rename { ino, .. } => Some(*ino),
            Self::Remove { .. } => None,
        }
    }
}

impl Dirs {
    pub(crate) fn create(&mut self, dir: u64, name: &OsStr, ino: u64) {
        self.seen(dir).insert(name.to_owned(), ino);
        let name = name.to_owned();
        self.changes.push(Change::Create { dir, name, ino });
    }

    pub(crate) fn remove(&mut self, dir: u64, name: &OsStr) {
        self.seen(dir).remove(name);
        let name = name.to_owned();
        self.changes.push(Change::Remove { dir, name });
    }

    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), ino: u64) {
        self.seen(from.0).remove(from.1);
        self.seen(to.0).insert(to.1.to_owned(), ino);
        if let Some(moved) = self.all.get_mut(&ino) {
            moved.parent = to.0;
        }
        let from = (from.0, from.1.to_owned());
        let to = (to.0, to.1.to_owned());
        self.changes.push(Change::Rename { from, to, ino });
    }

    fn seen(&mut self, dir: u64) -> &mut Entries {
        &mut self.all.entry(dir).or_default().seen
    }

    pub(crate) fn sync(&mut self, dir: u64) {
        let changes = std::mem::take(&mut self.changes);
        for change in changes {
            if change.dir() == dir {
                self.persist(&change);
            } else {
                self.changes.push(change);
            }
        }
    }

    /// A rename may become durable although the creation of its source did not.
    fn persist(&mut self, change: &Change) {
        match change {
            Change::Create { dir, name, ino } => {
                if let Some(dir) = self.all.get_mut(dir) {
                    dir.durable.insert(name.clone(), *ino);
                }
            }
            Change::Remove { dir, name } => {
                if let Some(dir) = self.all.get_mut(dir) {
                    dir.durable.remove(name);
                }
            }
            Change::Rename { from, to, ino } => {
                if let Some(dir) = self.all.get_mut(&from.0)
                    && dir.durable.get(&from.1) == Some(ino)
                {
                    dir.durable.remove(&from.1);
                }
                if let Some(dir) = self.all.get_mut(&to.0) {
                    dir.durable.insert(to.1.clone(), *ino);
                }
            }
        }
    }

    /// Keeps what is durable and, with luck, some of the changes since, in their order.
    pub(crate) fn power_cut(&mut self, mut luck: Option<&mut ChaCha8Rng>) {
        let fate = Fate::draw(luck.as_deref_mut());
        for change in std::mem::take(&mut self.changes) {
            if fate.survives(luck.as_deref_mut()) {
                self.persist(&change);
            }
        }
        let mut parents = Vec::new();
        for (number, dir) in &mut self.all {
            dir.seen = dir.durable.clone();
            parents.extend(dir.seen.values().map(|child| (*child, *number)));
        }
        for (child, parent) in parents {
            if let Some(dir) = self.all.get_mut(&child) {
                dir.parent = parent;
            }
        }
    }

    /// Files and directories that a name, seen or durable or still changing, can be followed to; `held` ones too.
    pub(crate) fn reachable(&self, root: u64, held: impl Iterator<Item = u64>) -> BTreeSet<u64> {
        let mut open: Vec<u64> = self.changes.iter().filter_map(Change::ino).collect();
        open.push(root);
        open.extend(held);
        let mut found = BTreeSet::new();
        while let Some(number) = open.pop() {
            if !found.insert(number) {
                continue;
            }
            if let Some(dir) = self.all.get(&number) {
                open.extend(dir.seen.values().chain(dir.durable.values()));
            }
        }
        found
    }
}
