mod engines;
mod fuse;
mod like_the_simulated_disk;
mod semantics;
