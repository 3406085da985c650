#!/usr/bin/env bash
# Starts one more node of the local cluster that start.sh started and lets it join.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=local.sh
source "$here/local.sh"

data=./data
bin_dir=''
readonly NODES_MAX=9
readonly JOIN_SECONDS=60

help() {
  cat <<'HELP'
Usage: add-node.sh [--data DIR] [--bin-dir DIR]

  --data DIR     the cluster's directory (default ./data)
  --bin-dir DIR  where spine-node and spinectl are (default: what node-1 runs, and beside it)

The new node gets the next free number, a token that works once, and no data until `spinectl cluster apply` or the
loss of another node gives it some. Exit code: 0 it belongs to the cluster, 1 it does not, 2 wrong use.
HELP
}

while (($# > 0)); do
  case $1 in
    --data) data=${2:?--data needs a directory}; shift 2 ;;
    --bin-dir) bin_dir=${2:?--bin-dir needs a directory}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    *) usage_error "unknown option $1" ;;
  esac
done
data=$(absolute "$data")
is_ours "$data" || fail "there is no local cluster in $data"
[[ -n $bin_dir ]] || bin_dir=$(dirname "$(program_of "$data/node-1/node.pid")")
node_program=$bin_dir/spine-node
spinectl=$bin_dir/spinectl
[[ -x $node_program && -x $spinectl ]] || fail "there are no programs in $bin_dir; --bin-dir says where they are"

base_port=$(marker_value "$data" base_port)
number=1
while [[ -e $data/node-$number ]]; do number=$((number + 1)); done
((number <= NODES_MAX)) || fail "a local cluster has at most $NODES_MAX nodes"

forget_settings
# shellcheck source=/dev/null
source "$data/cluster.env"
given=$("$spinectl" --output json node add) || fail 'the cluster gave no token'
token=$(sed -n 's/.*"token": "\([0-9a-f]*\)".*/\1/p' <<<"$given")
seeds=$(tr -d '\n ' <<<"$given" | sed -n 's/.*"seeds":\[\([^]]*\)\].*/\1/p')

write_node_settings "$data" "$number" "$base_port" "$seeds" "$token"
start_node "$data" "$number" "$node_program"
address=127.0.0.1:$((base_port + number))
deadline=$((SECONDS + JOIN_SECONDS))
# A cluster that has lost a node is degraded, and its status exits with 1.
has_joined() { grep -qF "\"grpc_address\": \"$address\"" <<<"$("$spinectl" --output json cluster status 2>/dev/null || true)"; }
until has_joined; do
  running "$data/node-$number/node.pid" >/dev/null || fail "node-$number ended; see $data/node-$number/node.log"
  ((SECONDS < deadline)) || fail "node-$number has not joined after $JOIN_SECONDS s; see $data/node-$number/node.log"
  sleep 0.2
done
printf 'export SPINE_ENDPOINTS=%s,%s\n' "$SPINE_ENDPOINTS" "$address" >"$data/cluster.env"
note "$data" nodes "$number"
say "node-$number has joined: $address"
say "Give it its share with: $spinectl cluster apply"
