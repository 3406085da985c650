#!/bin/sh
# What cargo calls instead of rustc for the packages of this workspace, and for those alone, when mutants are built:
# dependencies stay as `cargo test` made them.
exec "$@" --cfg spine_mutants
