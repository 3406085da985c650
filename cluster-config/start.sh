#!/usr/bin/env bash
# A Spine cluster on this machine, with one command: separate processes on loopback, with synthetic patients.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
# shellcheck source=local.sh
source "$here/local.sh"

data=./data
nodes=''
patients=10000
base_port=''
fresh=''
bin_dir=''
settings=()

# How long a node may take to answer at all, and the cluster to become ready (recovery of its data included).
readonly LIVE_SECONDS=30
readonly READY_SECONDS=120
readonly STOP_SECONDS=40
readonly NODES_MAX=9
readonly BASE_PORT_DEFAULT=7400

help() {
  cat <<'HELP'
Usage: start.sh [--nodes N] [--patients N] [--data DIR] [--base-port PORT] [--fresh]
                [--set KEY=VALUE]... [--bin-dir DIR]

  --nodes N         how many nodes, 1 to 9 (default 3)
  --patients N      synthetic patients to load on the first start (default 10000; 0 = none)
  --data DIR        where the cluster lives (default ./data)
  --base-port PORT  node i listens on PORT+i (gRPC), PORT+100+i (peers), PORT+200+i (admin),
                    PORT+300+i (FHIR over HTTP) (default 7400)
  --fresh           delete what start.sh made in DIR before, and begin anew
  --set KEY=VALUE   a setting for every node, for example telemetry.log_level=debug
  --bin-dir DIR     use spine-node and spinectl from DIR instead of building them

Everything listens on loopback in plain text and every caller is the development principal: synthetic data only.
Exit code: 0 the cluster serves, 1 it does not (nothing is left running), 2 wrong use.
HELP
}

while (($# > 0)); do
  case $1 in
    --nodes) nodes=${2:?--nodes needs a number}; shift 2 ;;
    --patients) patients=${2:?--patients needs a number}; shift 2 ;;
    --data) data=${2:?--data needs a directory}; shift 2 ;;
    --base-port) base_port=${2:?--base-port needs a port}; shift 2 ;;
    --fresh) fresh=yes; shift ;;
    --set) settings+=("${2:?--set needs key=value}"); shift 2 ;;
    --bin-dir) bin_dir=${2:?--bin-dir needs a directory}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    *) usage_error "unknown option $1" ;;
  esac
done
number() { [[ $1 =~ ^[0-9]{1,8}$ ]] || usage_error "$2 takes a number, not '$1'"; }
number "$patients" --patients
if [[ -n $nodes ]]; then
  number "$nodes" --nodes
  nodes=$((10#$nodes))
  ((nodes >= 1 && nodes <= NODES_MAX)) || usage_error "--nodes takes 1 to $NODES_MAX, not $nodes"
fi
if [[ -n $base_port ]]; then
  number "$base_port" --base-port
  base_port=$((10#$base_port))
  ((base_port >= 1024 && base_port <= 65000)) || usage_error "--base-port takes 1024 to 65000, not $base_port"
fi
patients=$((10#$patients))
[[ -d /proc/self ]] || fail 'this script needs /proc, so Linux'

shown=$data
data=$(absolute "$data")

# ---- What is in the directory -----------------------------------------------------------------------------

if [[ -e $data ]] && ! is_ours "$data"; then
  [[ -d $data ]] || fail "$data is not a directory"
  [[ -z $(ls -A "$data") ]] || fail "$data holds something that start.sh did not make; choose another --data"
fi
for file in "$data"/node-*/node.pid; do
  if pid=$(running "$file"); then
    fail "a cluster already runs in $data ($(basename "$(dirname "$file")") is process $pid); stop it with $here/stop.sh --data $data"
  fi
done
kept_nodes=$(marker_value "$data" nodes)
kept_port=$(marker_value "$data" base_port)
if [[ -z $fresh && -n $kept_nodes ]]; then
  [[ -z $nodes || $nodes == "$kept_nodes" ]] ||
    fail "the cluster in $data has $kept_nodes nodes, not $nodes; --fresh begins anew and deletes it"
  [[ -z $base_port || $base_port == "$kept_port" ]] ||
    fail "the cluster in $data uses base port $kept_port, not $base_port; --fresh begins anew and deletes it"
  nodes=$kept_nodes
  base_port=$kept_port
fi
nodes=${nodes:-3}
base_port=${base_port:-$BASE_PORT_DEFAULT}

grpc_port() { echo $((base_port + $1)); }
peer_port() { echo $((base_port + 100 + $1)); }
admin_port() { echo $((base_port + 200 + $1)); }
http_port() { echo $((base_port + 300 + $1)); }

# ---- Nothing is started while a port is taken ---------------------------------------------------------------

taken() { (exec 9<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
check_ports() {
  local i port found=()
  for ((i = 1; i <= nodes; i++)); do
    for port in "$(grpc_port "$i")" "$(peer_port "$i")" "$(admin_port "$i")" "$(http_port "$i")"; do
      if taken "$port"; then found+=("$port"); fi
    done
  done
  ((${#found[@]} == 0)) ||
    fail "in use on 127.0.0.1: port ${found[*]}; nothing was started; choose others with --base-port"
}
check_ports

# ---- Build ------------------------------------------------------------------------------------------------

if [[ -n $bin_dir ]]; then
  bin_dir=$(cd "$bin_dir" && pwd -P)
else
  command -v cargo >/dev/null || fail 'cargo is missing: install a Rust toolchain (https://rustup.rs)'
  command -v cc >/dev/null || fail 'cc is missing: install a C compiler (for example: apt-get install gcc)'
  say 'Building spine-node and spinectl (release; the first time takes minutes) ...'
  (cd "$root" && cargo build --release -p spine-node -p spine-client --features spine-client/cli --bins)
  bin_dir=$(cd "${CARGO_TARGET_DIR:-$root/target}/release" && pwd -P)
fi
node_program=$bin_dir/spine-node
spinectl=$bin_dir/spinectl
[[ -x $node_program ]] || fail "there is no program $node_program"
[[ -x $spinectl ]] || fail "there is no program $spinectl"

# ---- The directory ----------------------------------------------------------------------------------------

if [[ -n $fresh && -e $data ]] && is_ours "$data"; then
  say "Deleting the old cluster in $data"
  rm -rf "$data"
fi
mkdir -p "$data"
exec 8>"$data/.start.lock"
if command -v flock >/dev/null; then
  flock -n 8 || fail "another start.sh is at work in $data"
fi
if ! is_ours "$data"; then
  printf '%s\n' "$MARKER_LINE" >"$data/$MARKER"
  note "$data" nodes "$nodes"
  note "$data" base_port "$base_port"
fi

endpoints=''
peers=''
for ((i = 1; i <= nodes; i++)); do
  endpoints+="${endpoints:+,}127.0.0.1:$(grpc_port "$i")"
  peers+="${peers:+,}127.0.0.1:$(peer_port "$i")"
done

write_settings() { write_node_settings "$data" "$1" "$base_port" "\"${peers//,/\", \"}\"" ''; }
[[ $data != *[\"\\]* ]] || fail "a directory with a quote or a backslash in its name is not supported: $data"
printf 'export SPINE_ENDPOINTS=%s\n' "$endpoints" >"$data/cluster.env"
# For whoever restarts a node.
: >"$data/settings"
for setting in "${settings[@]+"${settings[@]}"}"; do printf '%s\n' "$setting" >>"$data/settings"; done

# ---- Start ------------------------------------------------------------------------------------------------

forget_settings

serving=''
give_up() {
  local code=$?
  [[ -n $serving ]] && exit "$code"
  say 'Stopping what was started.' >&2
  stop_nodes "$data" "$STOP_SECONDS" >&2 || true
  # A signal keeps its code; everything else is "it does not serve", whatever code the failed command had.
  ((code > 128)) || code=1
  exit "$code"
}
trap give_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# answers PORT PATH: true if the admin port answers 200.
answers() {
  (
    exec 9<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n' "$2" >&9
    IFS= read -r -t 2 line <&9
    [[ $line == *' 200 '* ]]
  ) 2>/dev/null
}

# wait_for PATH SECONDS WHAT: until every node answers 200; shows the log of one that ended or did not.
wait_for() {
  local path=$1 deadline=$((SECONDS + $2)) what=$3 i
  for ((i = 1; i <= nodes; i++)); do
    until answers "$(admin_port "$i")" "$path"; do
      running "$data/node-$i/node.pid" >/dev/null || give_reason "$i" "node-$i ended while it started"
      ((SECONDS < deadline)) || give_reason "$i" "node-$i is not $what after $2 s"
      sleep 0.1
    done
  done
}
give_reason() {
  printf '%s; the end of %s:\n' "$2" "$data/node-$1/node.log" >&2
  tail -n 15 "$data/node-$1/node.log" >&2
  exit 1
}

check_ports
count() { if (($1 == 1)); then echo '1 node is'; else echo "$1 nodes are"; fi; }
say "$(count "$nodes") starting in $data"
for ((i = 1; i <= nodes; i++)); do
  write_settings "$i"
  start_node "$data" "$i" "$node_program"
done
wait_for /livez "$LIVE_SECONDS" 'alive'

export SPINE_ENDPOINTS=$endpoints
if [[ -z $(marker_value "$data" initialised) ]]; then
  # A node whose disk is busy with something else may be too late to answer; asking again is harmless.
  for try in 1 2 3; do
    if "$spinectl" --timeout 60s cluster init --peers "$peers"; then break; fi
    ((try < 3)) || fail 'the cluster could not be initialised'
    sleep 2
  done
  note "$data" initialised yes
fi
wait_for /readyz "$READY_SECONDS" 'ready'

# ---- Patients ---------------------------------------------------------------------------------------------

population=$data/patients.ndjson
loaded=$(marker_value "$data" patients)
if [[ -z $loaded ]] && ((patients > 0)); then
  say "Generating and loading $patients synthetic patients"
  "$spinectl" population generate --count "$patients" --seed 1 --out "$population"
  "$spinectl" patient load "$population" || fail "the patients were not all loaded (exit code $?); start again to go on"
  note "$data" patients "$patients"
  loaded=$patients
fi
if [[ -z $(marker_value "$data" organisations) ]]; then
  # What codes of practices and pharmacies are checked against.
  "$spinectl" population organisations --out "$data/organisations.csv"
  for codes in "$data/organisations.csv" "$here/sandbox/organisations.csv"; do
    "$spinectl" organisation load "$codes" || fail 'the organisations were not loaded'
  done
  note "$data" organisations yes
fi
if [[ -z $(marker_value "$data" sandbox) ]]; then
  # Those that public examples of the national service name; the full one in its second version, as they expect.
  "$spinectl" patient load "$here/sandbox/patients.ndjson" >/dev/null || fail 'the sandbox patients were not loaded'
  "$spinectl" patient put "$here/sandbox/9000000009.json" --if-version 1 --request-id sandbox-9000000009 >/dev/null ||
    [[ $("$spinectl" patient get 9000000009) == *'"versionId": "2"'* ]] ||
    fail 'the sandbox patients were not loaded'
  note "$data" sandbox yes
fi
serving=yes

# ---- What there is now ------------------------------------------------------------------------------------

say
say "$(count "$nodes") serving ${loaded:-0} synthetic patients."
say
printf '  %-8s %-18s %-30s %-32s %s\n' node gRPC admin FHIR process
for ((i = 1; i <= nodes; i++)); do
  printf '  %-8s %-18s %-30s %-32s %s\n' "node-$i" "127.0.0.1:$(grpc_port "$i")" \
    "http://127.0.0.1:$(admin_port "$i")" "http://127.0.0.1:$(http_port "$i")/fhir/R4" "$(running "$data/node-$i/node.pid" || echo '-')"
done

example=''
if [[ -f $population ]]; then
  example=$(grep -m 1 -o '"value":"9[0-9]\{9\}"' "$population" | tr -dc '0-9' | cut -c 1-10 || true)
fi
say
say "Try next, after: source $shown/cluster.env"
say "  $spinectl cluster status"
if [[ -n $example ]]; then
  say "  $spinectl patient get $example"
  say "  curl -s http://127.0.0.1:$(http_port 1)/fhir/R4/Patient/$example"
else
  say "  $spinectl node status"
fi
say "  curl -s -H 'X-Request-ID: 60e0b220-8136-4ca5-ae46-1d97ef59d068' http://127.0.0.1:$(http_port 1)/personal-demographics/FHIR/R4/Patient/9000000009"
say "  curl -s 'http://127.0.0.1:$(admin_port 1)/readyz?verbose'"
say
say "Stop it with: $here/stop.sh --data $shown"
