#!/usr/bin/env bash
# Restarts every node of the local cluster that start.sh started, one after the other, while callers go on.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=local.sh
source "$here/local.sh"

data=./data
binary=''
spinectl=''

help() {
  cat <<'HELP'
Usage: rolling-restart.sh [--data DIR] [--binary PATH] [--spinectl PATH]

  --data DIR       the cluster's directory (default ./data)
  --binary PATH    the spine-node to start; without it the one that runs: a restart without an upgrade
  --spinectl PATH  without it the one beside the program that runs

Before each node every other one is up, level and equal; after it the node has caught up, leads again and has answered
a canary. Where a check fails, the nodes that were done go back to the program that they had. Begun again after it was
interrupted, it goes on where it was.
Exit code: that of spinectl upgrade apply; 0 all nodes were restarted.
HELP
}

while (($# > 0)); do
  case $1 in
    --data) data=${2:?--data needs a directory}; shift 2 ;;
    --binary) binary=${2:?--binary needs a program}; shift 2 ;;
    --spinectl) spinectl=${2:?--spinectl needs a program}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    *) usage_error "unknown option $1" ;;
  esac
done
data=$(absolute "$data")
is_ours "$data" || fail "there is no local cluster in $data"
program=$(program_of "$data/node-1/node.pid")
[[ -n $program ]] || fail "no node of $data is running"
binary=$(absolute "${binary:-$program}")
spinectl=${spinectl:-$(dirname "$program")/spinectl}
[[ -x $spinectl ]] || fail "there is no program $spinectl"
# shellcheck source=/dev/null
source "$data/cluster.env"

hook=$(printf '%q ' "$here/restart-node.sh" --data "$data")
exec "$spinectl" upgrade apply --binary "$binary" --from "$program" --state "$data/upgrade.json" --hook "$hook"
