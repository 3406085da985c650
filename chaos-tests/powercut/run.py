#!/usr/bin/env python3
"""Cuts the power of a file system under a checkpointing replica, again and again.

Needs root, loop devices and ext4; not part of the test suite. Each round: a child of the storage package's `crash`
test applies entries and checkpoints in a loop on a loop-mounted ext4, saying what is durable; after a random time the
file system is shut down with EXT4_IOC_SHUTDOWN (NOLOGFLUSH: nothing that was not synced reaches the image), the child
is killed, the image is mounted again, and the check of the same test opens the replica and compares every record,
count and digest with the model.

    cargo test -p spine-storage --test crash --no-run      # prints the binary's path
    chaos-tests/powercut/run.py BINARY --rounds 50 --engine sled --engine fjall
"""

import argparse
import fcntl
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2
IMAGE_BYTES = 512 * 1024 * 1024
# A fresh file system every so many rounds; in between the replica lives on through its cuts.
ROUNDS_PER_IMAGE = 5
# How often the replica's process is at most killed and started anew before the cut.
KILLS_MAX = 2
# As a node runs: sled would make everything durable with the program `sync` whenever it opens.
NO_PROGRAMS = "/nonexistent"


class Image:
    def __init__(self, directory):
        self.file = directory / "image"
        self.mount_point = directory / "mnt"
        self.mount_point.mkdir()

    def format(self):
        with open(self.file, "wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.file], check=True)

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.file, self.mount_point], check=True)

    def unmount(self):
        subprocess.run(["umount", self.mount_point], check=True)

    def cut(self):
        handle = os.open(self.mount_point, os.O_RDONLY)
        fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        os.close(handle)


def control(image):
    """The cut must really lose what was not synced, and keep what was."""
    image.format()
    image.mount()
    for name, sync in (("synced", True), ("unsynced", False)):
        with open(image.mount_point / name, "w") as file:
            file.write("content")
            file.flush()
            if sync:
                os.fsync(file.fileno())
    image.cut()
    image.unmount()
    image.mount()
    left = {path.name for path in image.mount_point.iterdir()}
    image.unmount()
    if "synced" not in left or "unsynced" in left:
        sys.exit(f"the cut does not work here: {left}")


def live(binary, order, seconds, end):
    """Runs a child for so long, calls `end` and kills it; returns what it said to be durable."""
    child = subprocess.Popen(
        [binary, "child_checkpoints_in_a_loop", "--exact", "--nocapture"],
        env=dict(os.environ, SPINE_CRASH_CHILD=order, PATH=NO_PROGRAMS),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    promised = 0

    def listen():
        nonlocal promised
        for line in child.stdout:
            if said := re.search(r"durable (\d+)$", line.strip()):
                promised = int(said.group(1))

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(seconds)
    end()
    # What it says from here on it says on a dead disk, where every sync fails: nothing more can be promised.
    child.kill()
    child.wait()
    listener.join()
    return promised


def one_round(binary, image, engine, seed, lives):
    """All lives but the last end with a kill, which leaves what was not synced to the next; the last with a cut.

    Returns (what was promised durable, what was recovered or None, output of a failed check)."""
    replica = image.mount_point / "replica"
    order = f"{engine}:{seed}:{replica}"
    promised = max(live(binary, order, life, lambda: None) for life in lives[:-1]) if len(lives) > 1 else 0
    promised = max(promised, live(binary, order, lives[-1], image.cut))
    image.unmount()
    image.mount()
    if not (replica / "CURRENT").exists():
        shutil.rmtree(replica, ignore_errors=True)
        return promised, None if promised else 0, "no replica"
    env = dict(os.environ, SPINE_CRASH_CHECK=f"{engine}:{seed}:{promised}:{replica}")
    check = subprocess.run(
        [binary, "check_after_a_power_cut", "--exact", "--nocapture"],
        env=env, capture_output=True, text=True, timeout=120,
    )
    recovered = re.search(r"recovered (\d+)", check.stdout)
    if check.returncode != 0 or not recovered:
        return promised, None, check.stdout + check.stderr
    return promised, int(recovered.group(1)), ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--engine", action="append", choices=["sled", "fjall"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="powercut-") as directory:
        image = Image(pathlib.Path(directory))
        control(image)
        for engine in options.engine or ["sled", "fjall"]:
            good = ahead = 0
            started = time.monotonic()
            for number in range(options.rounds):
                if number % ROUNDS_PER_IMAGE == 0:
                    image.format()
                image.mount()
                lives = [chance.uniform(0.05, 0.6) for _ in range(chance.randint(0, KILLS_MAX))]
                lives.append(chance.uniform(0.05, 1.2))
                promised, recovered, output = one_round(options.binary, image, engine, options.seed, lives)
                image.unmount()
                if recovered is None:
                    failed += 1
                    print(f"{engine} round {number}: FAILED, promised {promised}\n{output}", flush=True)
                    image.format()
                    continue
                good += 1
                ahead += recovered > promised
            seconds = time.monotonic() - started
            print(f"{engine}: {good} of {options.rounds} cuts recovered exactly, last promise {promised}, "
                  f"{ahead} recovered a newer checkpoint than was said, {seconds:.0f} s", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
