//! What the tests of this package share.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod machine;
pub(crate) mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spine_storage::disk::RealDisk;
use spine_storage::engine::{EngineFactory, FjallFactory, MemoryFactory, SledFactory};

/// Every engine, on the real file system.
pub(crate) fn engines() -> Vec<Arc<dyn EngineFactory>> {
    vec![
        Arc::new(SledFactory::default()),
        Arc::new(FjallFactory::default()),
        Arc::new(MemoryFactory::new(Arc::new(RealDisk))),
    ]
}

/// Copies a directory.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("a file below"));
        std::fs::create_dir_all(target.parent().expect("a directory")).expect("create");
        std::fs::copy(&file, &target).expect("copy");
    }
}

/// All files under a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
