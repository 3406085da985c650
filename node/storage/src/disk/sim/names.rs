//! The names of a simulated disk: as programs see them, and as a power cut would leave them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;

use super::content::Fate;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

/// A change of names that is not durable yet.
#[derive(Clone)]
struct Change {
    /// The directory whose sync makes it durable.
    dir: PathBuf,
    kind: ChangeKind,
}

#[derive(Clone)]
enum ChangeKind {
    Create { path: PathBuf, id: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

/// A tree of names by full path.
type Tree = BTreeMap<PathBuf, Node>;

/// Names twice: as seen, and as durable with the changes since.
#[derive(Clone, Default)]
pub(super) struct Names {
    seen: Tree,
    durable: Tree,
    changes: Vec<Change>,
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn dir_of(path: &Path) -> PathBuf {
    path.parent().map(PathBuf::from).unwrap_or_default()
}

fn remove_tree(tree: &mut Tree, path: &Path) {
    tree.retain(|name, _| !name.starts_with(path));
}

fn rename_tree(tree: &mut Tree, from: &Path, to: &Path) {
    let moved: Vec<(PathBuf, Node)> = tree
        .iter()
        .filter(|(name, _)| name.starts_with(from))
        .map(|(name, node)| (name.clone(), *node))
        .collect();
    if moved.is_empty() {
        return;
    }
    remove_tree(tree, from);
    for (name, node) in moved {
        let rest = name.strip_prefix(from).expect("filtered by this prefix");
        let target = if rest.as_os_str().is_empty() {
            to.to_path_buf()
        } else {
            to.join(rest)
        };
        tree.insert(target, node);
    }
}

impl Change {
    fn apply(&self, tree: &mut Tree, id_of_renamed: Option<Node>) {
        match &self.kind {
            ChangeKind::Create { path, id } => {
                tree.insert(path.clone(), Node::File(*id));
            }
            ChangeKind::Rename { from, to } => {
                rename_tree(tree, from, to);
                if let Some(node) = id_of_renamed {
                    tree.insert(to.clone(), node);
                }
            }
            ChangeKind::Remove { path } => remove_tree(tree, path),
        }
    }
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        self.seen.get(path).copied()
    }

    pub(super) fn path_of(&self, id: u64) -> Option<PathBuf> {
        self.seen
            .iter()
            .find(|(_, node)| **node == Node::File(id))
            .map(|(path, _)| path.clone())
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.get(path) {
            Some(Node::File(id)) => Ok(id),
            Some(Node::Dir) => Err(io::Error::other("is a directory")),
            None => Err(not_found()),
        }
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || path.parent().is_none() || self.get(path) == Some(Node::Dir)
    }

    fn check_dir_of(&self, path: &Path) -> io::Result<()> {
        if self.is_dir(&dir_of(path)) {
            Ok(())
        } else {
            Err(not_found())
        }
    }

    fn change(&mut self, path: &Path, kind: ChangeKind) {
        let change = Change {
            dir: dir_of(path),
            kind,
        };
        change.apply(&mut self.seen, None);
        self.changes.push(change);
    }

    pub(super) fn create(&mut self, path: &Path, id: u64) -> io::Result<()> {
        self.check_dir_of(path)?;
        if self.get(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(
            path,
            ChangeKind::Create {
                path: path.to_path_buf(),
                id,
            },
        );
        Ok(())
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            match self.get(dir) {
                Some(Node::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                Some(Node::Dir) => {}
                None => {
                    self.seen.insert(dir.to_path_buf(), Node::Dir);
                    self.durable.insert(dir.to_path_buf(), Node::Dir);
                }
            }
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let children = self.seen.keys().filter(|name| name.parent() == Some(path));
        children
            .map(|name| {
                let name = name.file_name().and_then(|name| name.to_str());
                name.map(str::to_owned)
                    .ok_or_else(|| io::Error::other("a file name is not UTF-8"))
            })
            .collect()
    }

    /// Moves a file or a directory; a file that stood at `to` is replaced.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.check_dir_of(to)?;
        if self.get(from).is_none() {
            return Err(not_found());
        }
        let full = self.get(to) == Some(Node::Dir)
            && self.seen.keys().any(|name| name != to && name.starts_with(to));
        if full {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.change(
            to,
            ChangeKind::Rename {
                from: from.to_path_buf(),
                to: to.to_path_buf(),
            },
        );
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.change(
            path,
            ChangeKind::Remove {
                path: path.to_path_buf(),
            },
        );
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        if self.get(path) != Some(Node::Dir) {
            return Err(not_found());
        }
        self.change(
            path,
            ChangeKind::Remove {
                path: path.to_path_buf(),
            },
        );
        Ok(())
    }

    /// Makes the changes of one directory durable. A rename between two directories counts with its target.
    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        if !self.is_dir(path) {
            return Err(not_found());
        }
        let (synced, rest) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|change| change.dir == path);
        self.changes = rest;
        let synced: Vec<Change> = synced;
        for change in &synced {
            self.persist(change);
        }
        Ok(())
    }

    /// A rename may become durable although the creation of its source did not: the file keeps its content.
    fn persist(&mut self, change: &Change) {
        let renamed = match &change.kind {
            ChangeKind::Rename { from, to } if !self.durable.contains_key(from) => {
                self.seen.get(to).copied().filter(|node| *node != Node::Dir)
            }
            _ => None,
        };
        change.apply(&mut self.durable, renamed);
    }

    /// Keeps what is durable and, by luck, some of the changes since, in their order.
    pub(super) fn power_cut(&mut self, rng: &mut ChaCha8Rng) {
        let fate = Fate::draw(rng);
        for change in std::mem::take(&mut self.changes) {
            if fate.survives(rng) {
                self.persist(&change);
            }
        }
        // A file whose directory is gone is gone.
        let dirs: Vec<PathBuf> = self
            .durable
            .iter()
            .filter(|(_, node)| **node == Node::Dir)
            .map(|(path, _)| path.clone())
            .collect();
        self.durable.retain(|path, _| {
            let dir = dir_of(path);
            dir.as_os_str().is_empty() || dir.parent().is_none() || dirs.contains(&dir)
        });
        self.seen = self.durable.clone();
    }

    /// Files that some name, seen or durable or still changing, stands for.
    pub(super) fn is_named(&self, id: u64) -> bool {
        let node = Node::File(id);
        self.seen
            .values()
            .chain(self.durable.values())
            .any(|named| *named == node)
            || self
                .changes
                .iter()
                .any(|change| matches!(&change.kind, ChangeKind::Create { id: made, .. } if *made == id))
    }
}
