#!/usr/bin/env bash
# Stops the local cluster that start.sh started: only processes it started itself, each asked once to finish.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=local.sh
source "$here/local.sh"

data=./data
patience=40

help() {
  cat <<'HELP'
Usage: stop.sh [--data DIR] [--timeout SECONDS]

  --data DIR         the cluster's directory (default ./data)
  --timeout SECONDS  how long to wait for the nodes to finish (default 40)

Sends SIGTERM to the nodes that start.sh started from DIR and waits until they are gone. A node hands its
leaders over, finishes what it has taken and makes it durable. Exit code: 0 stopped or nothing ran, 1 a node
is still running, 2 wrong use.
HELP
}

while (($# > 0)); do
  case $1 in
    --data) data=${2:?--data needs a directory}; shift 2 ;;
    --timeout) patience=${2:?--timeout needs seconds}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    *) usage_error "unknown option $1" ;;
  esac
done
[[ $patience =~ ^[0-9]+$ ]] || usage_error "--timeout takes whole seconds, not '$patience'"

data=$(absolute "$data")
is_ours "$data" || fail "there is no local cluster in $data"

any=''
for file in "$data"/node-*/node.pid; do
  if running "$file" >/dev/null; then any=yes; fi
done
if [[ -z $any ]]; then
  rm -f "$data"/node-*/node.pid
  say "no node of $data is running"
  exit 0
fi
stop_nodes "$data" "$patience"
