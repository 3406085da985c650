#!/usr/bin/env bash
# Stops one node of the local cluster that start.sh started and starts it again, perhaps as another program.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=local.sh
source "$here/local.sh"

data=./data
binary=${SPINE_BINARY:-}
node=''
patience=40

help() {
  cat <<'HELP'
Usage: restart-node.sh [--data DIR] [--binary PATH] [--timeout SECONDS] [NODE]

  NODE               its number, from 1; without it SPINE_NODE_GRPC says which, as for a hook of spinectl upgrade
  --data DIR         the cluster's directory (default ./data)
  --binary PATH      the spine-node to start; without it SPINE_BINARY, else the one that ran last
  --timeout SECONDS  how long to wait for the node to finish (default 40)

Hand its leaders over first (spinectl node drain), or let spinectl upgrade or rolling-restart.sh do all of it.
Exit code: 0 the node was started, 1 it was not, 2 wrong use.
HELP
}

while (($# > 0)); do
  case $1 in
    --data) data=${2:?--data needs a directory}; shift 2 ;;
    --binary) binary=${2:?--binary needs a program}; shift 2 ;;
    --timeout) patience=${2:?--timeout needs seconds}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    -*) usage_error "unknown option $1" ;;
    *) node=$1; shift ;;
  esac
done
[[ $patience =~ ^[0-9]+$ ]] || usage_error "--timeout takes whole seconds, not '$patience'"
data=$(absolute "$data")
is_ours "$data" || fail "there is no local cluster in $data"

if [[ -z $node ]]; then
  address=${SPINE_NODE_GRPC:-}
  [[ -n $address ]] || usage_error 'which node?'
  for file in "$data"/node-*/spine.toml; do
    if grep -qxF "grpc = \"$address\"" "$file"; then node=$(basename "$(dirname "$file")") && node=${node#node-}; fi
  done
  [[ -n $node ]] || fail "no node of $data listens on $address"
fi
[[ $node =~ ^[1-9]$ && -d $data/node-$node ]] || usage_error "there is no node $node in $data"
pidfile=$data/node-$node/node.pid
binary=${binary:-$(program_of "$pidfile")}
[[ -n $binary ]] || usage_error 'which program? --binary says'
binary=$(cd "$(dirname "$binary")" && pwd -P)/$(basename "$binary")
[[ -x $binary ]] || fail "there is no program $binary"

# A tool that was killed may have left one of these at work on the same node.
exec 8>"$data/node-$node/.restart.lock"
if command -v flock >/dev/null; then
  flock -w "$patience" 8 || fail "another restart of node-$node is under way"
fi
if pid=$(running "$pidfile"); then
  kill -TERM "$pid"
  deadline=$((SECONDS + patience))
  while running "$pidfile" >/dev/null; do
    ((SECONDS < deadline)) || fail "node-$node (process $pid) still runs after $patience s"
    sleep 0.05
  done
fi
forget_settings
start_node "$data" "$node" "$binary"
running "$pidfile" >/dev/null || {
  tail -n 15 "$data/node-$node/node.log" >&2
  fail "node-$node ended while it started"
}
note_address "$data" "$node"
say "node-$node runs $binary as process $(running "$pidfile")"
