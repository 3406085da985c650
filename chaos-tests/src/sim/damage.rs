//! Bits of a replica's state that are other ones than were written.

use std::io;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use spine_storage::disk::{Disk, SimDisk};

const REPLICAS: &str = "/data/replicas";

/// Damages a byte of one file of the state in force of one replica, all drawn. None = there is no state yet.
pub(super) fn damage(disk: &SimDisk, random: &mut ChaCha8Rng) -> io::Result<Option<PathBuf>> {
    let replicas = disk.list(Path::new(REPLICAS))?;
    let Some(replica) = one(random, &replicas) else {
        return Ok(None);
    };
    let replica = Path::new(REPLICAS).join(replica);
    let names = disk.list(&replica)?;
    let number = |name: &String| {
        name.strip_prefix("generation-")
            .and_then(|number| number.parse::<u64>().ok())
    };
    let Some(newest) = names
        .iter()
        .filter(|name| number(name).is_some())
        .max_by_key(|name| number(name))
    else {
        return Ok(None);
    };
    let mut files = Vec::new();
    collect(disk, &replica.join(newest), &mut files)?;
    let Some((file, len)) = one(random, &files) else {
        return Ok(None);
    };
    disk.corrupt(file, random.random_range(0..*len), 1)?;
    Ok(Some(file.clone()))
}

fn one<'a, T>(random: &mut ChaCha8Rng, of: &'a [T]) -> Option<&'a T> {
    if of.is_empty() {
        return None;
    }
    of.get(random.random_range(0..of.len()))
}

/// Files below a directory that hold anything, with their lengths.
fn collect(disk: &SimDisk, dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    for name in disk.list(dir)? {
        let path = dir.join(name);
        match disk.open(&path, false) {
            Ok(file) => files.extend(file.len().ok().filter(|len| *len > 0).map(|len| (path, len))),
            Err(_) => collect(disk, &path, files)?,
        }
    }
    Ok(())
}
