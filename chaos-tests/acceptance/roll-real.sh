#!/usr/bin/env bash
# Two really different programs: builds an earlier commit, starts a local cluster on it, and rolls it to this tree's
# program and back under load; lets each install snapshots that the other wrote; then rolls forward once more,
# finalizes, and tries to go back. At each end the clients of both commits, old and new, write and read.
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
Usage: roll-real.sh [--work DIR] [--port PORT] [--new DIR] [--old PATH [--old-client PATH] | REV]

  REV                the commit whose spine-node and spinectl are the old ones; built in a worktree and target
                     directory of its own
  --old PATH         an old spine-node that is there already
  --old-client PATH  its spinectl (default: the one beside it)
  --new DIR          where spine-node and spinectl of this tree are; without it they are built
  --work DIR         worktree, build and cluster go there (default: a temporary directory, removed at the end)
  --port PORT        base port of the cluster (default 17400)

Exit code: 0 every step was as it should be and no call failed; 1 not; 2 wrong use.
HELP
}

rev='' old='' old_client='' new='' work='' port=17400
while (($# > 0)); do
  case $1 in
    --work) work=${2:?--work needs a directory}; shift 2 ;;
    --port) port=${2:?--port needs a number}; shift 2 ;;
    --new) new=${2:?--new needs a directory}; shift 2 ;;
    --old) old=${2:?--old needs a program}; shift 2 ;;
    --old-client) old_client=${2:?--old-client needs a program}; shift 2 ;;
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
old_client=${old_client:-$(dirname "$old")/spinectl}
[[ -x $old_client ]] || fail "there is no old client $old_client; --old-client says where it is"
# Names of their own, and one spinectl beside both nodes: this tree's, as the scripts are.
mkdir -p "$work/old" "$work/new" "$work/clients"
cp "$old" "$work/old/spine-node"
cp "$new/spine-node" "$work/new/spine-node"
for dir in old new; do cp "$new/spinectl" "$work/$dir/spinectl"; done
spinectl=$work/new/spinectl
cp "$old_client" "$work/clients/old"
cp "$spinectl" "$work/clients/new"

"$root/cluster-config/start.sh" --data "$data" --base-port "$port" --patients 300 --bin-dir "$work/old" >/dev/null
# shellcheck source=/dev/null
source "$data/cluster.env"
export SPINE_ENDPOINTS
hook=$(printf '%q ' "$root/cluster-config/restart-node.sh" --data "$data")
state=$data/upgrade.json

forward() { "$spinectl" upgrade apply --binary "$work/new/spine-node" --from "$work/old/spine-node" --hook "$hook" --state "$state"; }
# forward_again: a node that just installed snapshots is refused for as long as it is behind.
forward_again() {
  local tries code
  for ((tries = 0; tries < 60; tries++)); do
    code=0
    forward || code=$?
    ((code == 5)) || return "$code"
    sleep 1
  done
  return 5
}
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

# One that start.sh has loaded.
readonly PATIENT=9000000009
# writes CLIENT VALUE: a record of this client's own, old or new.
writes() { "$work/clients/$1" records commit "client-$1" --put "value=$2"; }
# reads CLIENT VALUE: the records of both clients, and a patient.
reads() {
  local client=$work/clients/$1 who found
  for who in old new; do
    found=$("$client" records get "client-$who" value) || return 1
    [[ $found == "$2" ]] || { say "the record of the $who client holds '$found', not '$2'"; return 1; }
  done
  found=$("$client" patient get "$PATIENT") || return 1
  [[ $found == *"\"$PATIENT\""* ]] || { say "no patient: $found"; return 1; }
}
# clients_work WHERE: both clients on the cluster as it is now; each reads what the other one wrote, too.
clients_work() {
  local client
  for client in old new; do expect 0 "$1: the $client client writes" writes "$client" "$1"; done
  for client in old new; do expect 0 "$1: the $client client reads" reads "$client" "$1"; done
}

# More writes than a node can have had in flight.
readonly IN_FLIGHT_MAX=32
# of_node NODE FIELD: a number that the cluster tells of each replica of a node, in the order of its shards.
of_node() {
  "$spinectl" --output json shard list | awk -v node="$1" -v field="\"$2\":" '
    $1 == "\"shard\":" { shard = $2 + 0 }
    $1 == "\"node_id\":" { at = $2 + 0 }
    # 0 is the meta group: hardly anything is written to it.
    $1 == field && at == node && shard > 0 { print $2 + 0 }'
}
# purged_beyond INDEXES: whether nodes 1 and 2 have purged each shard beyond these and what was in flight.
purged_beyond() {
  local one two
  one=$(of_node 1 purged_index) || return 1
  two=$(of_node 2 purged_index) || return 1
  paste <(printf '%s\n' "$1") <(printf '%s\n' "$one") <(printf '%s\n' "$two") |
    awk -v more="$IN_FLIGHT_MAX" '
      NF != 3 || $2 <= $1 + more || $3 <= $1 + more { print "not beyond what node 3 has: " $0; kept = 1 }
      END { exit NR == 0 || kept }'
}
# runs NODE PROGRAM: starts the node as old or new, and waits until the cluster is well.
runs() {
  "$root/cluster-config/restart-node.sh" --data "$data" --binary "$work/$2/spine-node" "$1" || return 1
  "$spinectl" cluster status --wait 60s
}
# crosses WRITER INSTALLER: node 3 runs INSTALLER and gets a snapshot from the others, which run WRITER.
crosses() {
  local node held
  for node in 1 2; do runs "$node" "$1" || return 1; done
  runs 3 "$2" || return 1
  kill -KILL "$(head -n 1 "$data/node-3/node.pid")" || return 1
  held=$(of_node 1 last_log_index) || return 1
  # The callers write meanwhile.
  sleep 5
  "$spinectl" --endpoints "${SPINE_ENDPOINTS%,*}" --timeout 60s shard compact || return 1
  purged_beyond "$held" || return 1
  runs 3 "$2" || return 1
  [[ $("$spinectl" shard list) != *DIVERGED* ]]
}

# Until the rolls are done. What a run says counts, not its exit code: that also tells of a node that was down when it was
# asked for its syncs.
callers() {
  local said
  until [[ -e $work/enough ]]; do
    said=$("$spinectl" bench --clients 16 --warm-up 0 --seconds 5 --mix put-get 2>&1) || true
    printf '%s\n' "$said" >>"$work/bench.log"
    [[ $said == *' 0 errors,'* ]] || : >>"$work/failed"
  done
}
callers &
load=$!

# level_of PROGRAM: the highest level that it can follow.
level_of() { "$1" --version | sed -n 's/^levels .* to //p'; }
old_level=$(level_of "$work/old/spine-node")
new_level=$(level_of "$work/new/spine-node")

clients_work 'old program'
if ((old_level < new_level)); then
  expect 5 'finalize on the old program' finalize
fi
expect 0 'roll forward' forward
clients_work 'new program'
expect 0 'roll back' back
clients_work 'old program again'
expect 0 'the new program installs snapshots of the old one' crosses old new
expect 0 'the old program installs snapshots of the new one' crosses new old
expect 0 'roll forward again' forward_again
expect 0 'finalize' finalize
clients_work 'finalized'
expect 0 'finalize again' finalize
if ((old_level < new_level)); then
  expect 4 'roll back after finalize' back
  expect 5 'install the old program after finalize' \
    "$spinectl" upgrade apply --binary "$work/old/spine-node" --hook "$hook" --state "$data/other.json"
else
  say "SKIPPED what finalize refuses: both programs follow level $new_level"
fi
: >"$work/enough"
wait "$load"
load=''
[[ ! -e $work/failed ]] || { tail -n 20 "$work/bench.log" >&2; fail 'calls failed'; }
say 'no call failed'
"$spinectl" cluster status
