#!/usr/bin/env bash
# Builds what operators install, after a short run under load has told the compiler which code is the busy one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
# shellcheck source=local.sh
source "$here/local.sh"

out=$root/target/profiled/bin
features=spine-client/cli
base_port=17400
seconds=5

help() {
  cat <<'HELP'
Usage: build-dist.sh [--out DIR] [--features LIST] [--base-port PORT] [--seconds N]

  --out DIR         where spine-node and spinectl go (default target/profiled/bin)
  --features LIST   of the packages (default spine-client/cli)
  --base-port PORT  where the cluster of the run listens, as for start.sh (default 17400)
  --seconds N       how long each kind of load lasts in the run (default 5)

Profile `dist`, optimised by what ran: builds both programs so that they count what they execute, runs a cluster of three
of them with synthetic patients, and builds them again with the counts. It takes two builds of profile `dist`. Nothing is
kept of the run but the counts, in target/profiled. Needs llvm-profdata: of rustup (rustup component add llvm-tools), or
of a distribution's LLVM, 19 or later.
Exit code: 0 built, 1 not, 2 wrong use.
HELP
}

while (($# > 0)); do
  case $1 in
    --out) out=${2:?--out needs a directory}; shift 2 ;;
    --features) features=${2:?--features needs a list}; shift 2 ;;
    --base-port) base_port=${2:?--base-port needs a port}; shift 2 ;;
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    *) usage_error "unknown option $1" ;;
  esac
done
[[ $base_port =~ ^[0-9]{4,5}$ ]] || usage_error "--base-port takes a port, not '$base_port'"
[[ $seconds =~ ^[1-9][0-9]{0,2}$ ]] || usage_error "--seconds takes 1 to 999, not '$seconds'"
out=$(absolute "$out")

# ---- Tools ------------------------------------------------------------------------------------------------

command -v cargo >/dev/null || fail 'cargo is missing: install a Rust toolchain (https://rustup.rs)'
host=$(rustc -vV | sed -n 's/^host: //p')
profdata() {
  local tool
  tool=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
  [[ -x $tool ]] || tool=$(compgen -c llvm-profdata | sort -V | tail -n 1)
  [[ -n $tool ]] || return 1
  "$tool" "$@"
}
profdata merge --help >/dev/null 2>&1 || fail 'llvm-profdata is missing: rustup component add llvm-tools'

work=$root/target/profiled
counts=$work/counts
data=$work/cluster

# build DIR FLAG: both programs with a flag for the compiler. With --target it is not for build scripts and macros.
build() {
  (cd "$root" && CARGO_INCREMENTAL=0 cargo build --profile dist --target "$host" --target-dir "$1" \
    --config "build.rustflags = ['$2']" -p spine-node -p spine-client --features "$features" --bins)
}
programs_in() { printf '%s/%s/dist' "$1" "$host"; }

# ---- The run ----------------------------------------------------------------------------------------------

clean_up() { "$here/stop.sh" --data "$data" >/dev/null 2>&1 || true; }
trap clean_up EXIT

load() { "$spinectl" bench --seconds "$seconds" "$@" >/dev/null; }

# Patients over HTTP, one connection, some with what a search must not find.
ask_over_http() {
  local count=$((seconds * 400)) i number
  local -a numbers
  mapfile -t numbers < <(sed -n 's/.*"id":"\([0-9]\{10\}\)".*/\1/p' "$data/patients.ndjson")
  exec 9<>"/dev/tcp/127.0.0.1/$((base_port + 301))"
  cat <&9 >/dev/null &
  for ((i = 0; i < count; i++)); do
    number=${numbers[i % ${#numbers[@]}]}
    ask "/personal-demographics/FHIR/R4/Patient/$number"
    ((i % 8)) || ask '/fhir/R4/Patient?family=Smith&birthdate=1970-01-01&gender=female'
  done >&9
  ask /fhir/R4/metadata close >&9
  wait $!
  exec 9>&-
}
ask() {
  printf 'GET %s HTTP/1.1\r\nhost: localhost\r\nx-request-id: 60E0B220-8136-4CA5-AE46-1D97EF59D068\r\nconnection: %s\r\n\r\n' \
    "$1" "${2:-keep-alive}"
}

run_under_load() {
  say 'A cluster runs under load, and its programs count what they execute'
  "$here/start.sh" --fresh --data "$data" --base-port "$base_port" --patients 5000 --bin-dir "$(programs_in "$work/counting")"
  # shellcheck source=/dev/null
  source "$data/cluster.env"
  local clients
  for clients in 1 64 256; do load --mix put --clients "$clients"; done
  load --mix put --value-bytes 2048
  load --mix get
  load --mix get --clients 256
  load --mix cas
  load --mix list --clients 16
  load --mix patients --keys 5000
  ask_over_http
  # What a start replays and a follower catches up with, under load.
  load --mix put-get &
  "$here/restart-node.sh" --data "$data" 2
  wait $!
  "$here/stop.sh" --data "$data"
}

rm -rf "$counts"
say 'Building programs that count'
build "$work/counting" "-Cprofile-generate=$counts"
spinectl=$(programs_in "$work/counting")/spinectl
run_under_load
profdata merge --output "$work/counts.profdata" "$counts"
say 'Building the programs themselves'
build "$work/build" "-Cprofile-use=$work/counts.profdata"
mkdir -p "$out"
cp "$(programs_in "$work/build")"/{spine-node,spinectl} "$out/"
rm -rf "$data" "$counts"
say "Built $out/spine-node and $out/spinectl"
