#!/usr/bin/env bash
# Two really different programs: builds an earlier commit, starts a local cluster on it, and rolls it to this tree's
# program and back under load; then forward once more, finalizes, and tries to go back.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

say() { printf '%s\n' "$*"; }
fail() {
  printf 'roll-real.sh: %s\n' "$*" >&2
  exit 1
}
help() {
  cat <<'HELP'
Usage: roll-real.sh [--work DIR] [--port PORT] [--new DIR] [--old PATH | REV]

  REV          the commit whose spine-node is the old program; built in a worktree and target directory of its own
  --old PATH   an old spine-node that is there already
  --new DIR    where spine-node and spinectl of this tree are; without it they are built
  --work DIR   worktree, build and cluster go there (default: a temporary directory, removed at the end)
  --port PORT  base port of the cluster (default 17400)

Exit code: 0 every step was as it should be and no call failed; 1 not; 2 wrong use.
HELP
}

rev='' old='' new='' work='' port=17400
while (($# > 0)); do
  case $1 in
    --work) work=${2:?--work needs a directory}; shift 2 ;;
    --port) port=${2:?--port needs a number}; shift 2 ;;
    --new) new=${2:?--new needs a directory}; shift 2 ;;
    --old) old=${2:?--old needs a program}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    -*) help >&2; exit 2 ;;
    *) rev=$1; shift ;;
  esac
done
[[ -n $rev || -n $old ]] || { help >&2; exit 2; }

temporary=''
if [[ -z $work ]]; then
  work=$(mktemp -d) && temporary=$work
fi
mkdir -p "$work"
data=$work/cluster
load=''
cleanup() {
  [[ -z $load ]] || kill "$load" 2>/dev/null || true
  [[ ! -d $data ]] || "$root/cluster-config/stop.sh" --data "$data" >/dev/null 2>&1 || true
  [[ ! -d $work/src ]] || git -C "$root" worktree remove --force "$work/src" 2>/dev/null || true
  [[ -z $temporary ]] || rm -rf "$temporary"
}
trap cleanup EXIT

build() { (cd "$1" && CARGO_TARGET_DIR=$2 cargo build --release -p spine-node -p spine-client --features spine-client/cli); }

if [[ -z $old ]]; then
  git -C "$root" worktree add --detach "$work/src" "$rev" >/dev/null
  build "$work/src" "$work/target-old"
  old=$work/target-old/release/spine-node
fi
if [[ -z $new ]]; then
  build "$root" "$root/target"
  new=$root/target/release
fi
# Names of their own, and one spinectl beside both: this tree's.
mkdir -p "$work/old" "$work/new"
cp "$old" "$work/old/spine-node"
cp "$new/spine-node" "$work/new/spine-node"
for dir in old new; do cp "$new/spinectl" "$work/$dir/spinectl"; done
spinectl=$work/new/spinectl

"$root/cluster-config/start.sh" --data "$data" --base-port "$port" --patients 300 --bin-dir "$work/old" >/dev/null
# shellcheck source=/dev/null
source "$data/cluster.env"
export SPINE_ENDPOINTS
hook=$(printf '%q ' "$root/cluster-config/restart-node.sh" --data "$data")
state=$data/upgrade.json

forward() { "$spinectl" upgrade apply --binary "$work/new/spine-node" --from "$work/old/spine-node" --hook "$hook" --state "$state"; }
back() { "$spinectl" upgrade rollback --hook "$hook" --state "$state"; }
finalize() { "$spinectl" upgrade finalize --state "$state"; }
# code COMMAND...: its exit code, whatever it is.
code() { local code=0; "$@" >>"$work/talk" 2>&1 || code=$?; printf '%s\n' "$code"; }
# expect CODE WHAT COMMAND...
expect() {
  local expected=$1 what=$2 got
  shift 2
  got=$(code "$@")
  [[ $got == "$expected" ]] || { tail -n 5 "$work/talk" >&2; fail "$what: exit code $got instead of $expected"; }
  say "$what: as it should be"
}

# Exits with an error where a call fails; once more until the rolls are done.
callers() {
  until [[ -e $work/enough ]]; do
    "$spinectl" bench --clients 16 --warm-up 0 --seconds 5 --mix put-get >>"$work/bench.log" 2>&1 || : >>"$work/failed"
  done
}
callers &
load=$!

expect 5 'finalize on the old program' finalize
expect 0 'roll forward' forward
expect 0 'roll back' back
expect 0 'roll forward again' forward
expect 0 'finalize' finalize
expect 0 'finalize again' finalize
expect 4 'roll back after finalize' back
expect 5 'install the old program after finalize' \
  "$spinectl" upgrade apply --binary "$work/old/spine-node" --hook "$hook" --state "$data/other.json"
: >"$work/enough"
wait "$load"
load=''
[[ ! -e $work/failed ]] || { tail -n 20 "$work/bench.log" >&2; fail 'calls failed'; }
say 'no call failed'
"$spinectl" cluster status
