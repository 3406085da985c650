//! The same operations on this disk and on the simulated one give the same, and a cut leaves the same where no luck
//! is left in it.

use std::ffi::OsStr;
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spine_faultdisk::{Cut, Store};
use spine_storage::disk::{Disk, SimDisk};

const ROOT: u64 = 1;
const FILES: u32 = 4;
const STEPS: u32 = 60;
const FILE_BYTES: u64 = 20_000;

struct Both {
    store: Store,
    sim: SimDisk,
}

impl Both {
    /// Everything a reader sees, in both.
    fn compare(&mut self) {
        let names = self.sim.list(Path::new("")).unwrap();
        let (_, entries) = self.store.entries(ROOT).unwrap();
        let here: Vec<_> = entries
            .iter()
            .map(|(name, _)| name.to_str().unwrap().to_owned())
            .collect();
        assert_eq!(here, names);
        for (name, ino) in entries {
            self.store.open(ino).unwrap();
            let life = self.store.life();
            let seen = self.store.read(life, ino, 0, 1 << 20).unwrap();
            self.store.close(life, ino);
            assert_eq!(seen, self.sim.read(Path::new(&name)).unwrap());
        }
    }

    fn step(&mut self, random: &mut ChaCha8Rng) {
        let name = format!("f{}", random.random_range(0..FILES));
        let other = format!("f{}", random.random_range(0..FILES));
        let (path, target) = (Path::new(&name), Path::new(&other));
        let found = self.store.lookup(ROOT, OsStr::new(&name));
        let Ok(ino) = found else {
            let ino = self.store.create(ROOT, OsStr::new(&name)).unwrap();
            self.store.close(self.store.life(), ino);
            self.sim.open(path, true).unwrap();
            return;
        };
        let file = self.sim.open(path, false).unwrap();
        let life = self.store.life();
        match random.random_range(0..9_u8) {
            0..4 => {
                let offset = random.random_range(0..FILE_BYTES);
                let len = random.random_range(0..5_000_usize);
                let bytes = vec![random.random_range(0..3_u8); len];
                self.store.write(life, ino, offset, &bytes).unwrap();
                file.write_all_at(&bytes, offset).unwrap();
            }
            4 => {
                let len = random.random_range(0..FILE_BYTES);
                self.store.set_len(ino, len).unwrap();
                file.set_len(len).unwrap();
            }
            5 => {
                self.store.sync(life, ino).unwrap();
                file.sync_data().unwrap();
            }
            6 if name != other => {
                let (from, to) = (OsStr::new(&name), OsStr::new(&other));
                self.store.rename((ROOT, from), (ROOT, to)).unwrap();
                self.sim.rename(path, target).unwrap();
            }
            7 => {
                self.store.remove_file(ROOT, OsStr::new(&name)).unwrap();
                self.sim.remove_file(path).unwrap();
            }
            8 => {
                // A failed sync takes what was not durable, in both.
                assert!(self.store.fail_sync(life, ino).is_err());
                self.sim.fail_next_sync(Some(path));
                assert!(file.sync_data().is_err());
            }
            _ => {
                self.store.sync_dir(life, ROOT).unwrap();
                self.sim.sync_dir(Path::new("")).unwrap();
            }
        }
    }

    fn sync_all(&mut self) {
        for (name, ino) in self.store.entries(ROOT).unwrap().1 {
            self.store.open(ino).unwrap();
            self.store.sync(self.store.life(), ino).unwrap();
            self.store.close(self.store.life(), ino);
            self.sim
                .open(Path::new(&name), false)
                .unwrap()
                .sync_data()
                .unwrap();
        }
        self.store.sync_dir(self.store.life(), ROOT).unwrap();
        self.sim.sync_dir(Path::new("")).unwrap();
    }
}

#[test]
fn the_same_operations_are_seen_the_same() {
    for seed in 0..200 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut both = Both {
            store: Store::default(),
            sim: SimDisk::new(seed),
        };
        for _ in 0..STEPS {
            both.step(&mut random);
            both.compare();
        }
        both.sync_all();
        both.store.power_cut(Cut::Torn(seed));
        both.store.power_on();
        both.sim.power_cut();
        both.compare();
    }
}
