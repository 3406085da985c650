# What start.sh and stop.sh share: where a local cluster keeps its things, and which processes are its own.
# Sourced, never run.
# shellcheck shell=bash

# First line of the marker file. A directory without it is never touched.
readonly MARKER_LINE='spine local cluster 1'
readonly MARKER='.spine-local-cluster'

say() { printf '%s\n' "$*"; }
fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}
usage_error() {
  printf '%s: %s (--help shows the options)\n' "${0##*/}" "$*" >&2
  exit 2
}

# absolute PATH: works for what does not exist yet.
absolute() {
  case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s/%s\n' "$PWD" "${1#./}" ;;
  esac
}

# is_ours DIR: true if the directory carries our marker.
is_ours() {
  local line=''
  [[ -f $1/$MARKER ]] && IFS= read -r line <"$1/$MARKER"
  [[ $line == "$MARKER_LINE" ]]
}

# marker_value DIR KEY: a value noted in the marker file, or nothing.
marker_value() {
  [[ -f $1/$MARKER ]] || return 0
  sed -n "s/^$2=//p" "$1/$MARKER" | tail -n 1
}

# note DIR KEY VALUE: replaces a value in the marker file, so that a crash leaves the old or the new file.
note() {
  { grep -v "^$2=" "$1/$MARKER" || true; printf '%s=%s\n' "$2" "$3"; } >"$1/$MARKER.new"
  mv "$1/$MARKER.new" "$1/$MARKER"
}

# start_time PID: in clock ticks since boot; with the process id it names one process for ever.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The name in brackets may hold spaces; the start time is the 20th word after it.
  local -a words
  read -r -a words <<<"${stat##*) }"
  printf '%s\n' "${words[19]}"
}

# of_status PID FIELD: a field of what the kernel tells of a process.
of_status() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status" 2>/dev/null || true; }

# running PIDFILE: prints the process id if exactly the process that was noted there still runs.
# The file holds process id, start time and program, one a line.
running() {
  local pid begun program found
  [[ -f $1 ]] || return 1
  { IFS= read -r pid && IFS= read -r begun && IFS= read -r program; } <"$1" || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  [[ $(start_time "$pid") == "$begun" ]] || return 1
  # A zombie has ended once none of its threads is left: until then they hold the lock of the data directory, and the
  # kernel no longer tells the program.
  if [[ $(of_status "$pid" State) == Z* ]]; then
    [[ $(of_status "$pid" Threads) =~ ^[0-9]+$ && ${BASH_REMATCH[0]} -gt 1 ]] || return 1
  elif found=$(readlink "/proc/$pid/exe" 2>/dev/null); then
    # A program that was built anew while it ran shows as deleted. One that is ending shows none, and still holds its lock.
    [[ ${found% (deleted)} == "$program" ]] || return 1
  fi
  printf '%s\n' "$pid"
}

# program_of PIDFILE: the program that was started, or nothing.
program_of() {
  [[ -f $1 ]] || return 0
  sed -n 3p "$1"
}

# Settings of the caller's environment would win over every node's file.
forget_settings() {
  local name
  while IFS= read -r name; do
    [[ $name == SPINE_*__* ]] && unset "$name"
  done < <(compgen -e)
  return 0
}

# write_node_settings DIR I BASE_PORT SEEDS TOKEN: the settings file of node I; SEEDS as in TOML, between the brackets.
write_node_settings() {
  local dir=$1/node-$2
  mkdir -p "$dir"
  cat >"$dir/spine.toml" <<TOML
# Written by start.sh at every start; further settings go through start.sh --set.
[node]
name = "node-$2"
data_dir = "$dir/data"

[listen]
grpc = "127.0.0.1:$(($3 + $2))"
peer = "127.0.0.1:$(($3 + 100 + $2))"
admin = "127.0.0.1:$(($3 + 200 + $2))"
http = "127.0.0.1:$(($3 + 300 + $2))"

[cluster]
seeds = [$4]
join_token = "$5"

[security]
# Plain text, and every caller is this principal: synthetic data only.
mode = "development"
development_principal = "developer"
TOML
}

# start_node DIR I PROGRAM: starts node I of DIR on the settings that start.sh was given last.
start_node() {
  local dir=$1/node-$2 program=$3 pid setting tries
  local -a settings=()
  if [[ -f $1/settings ]]; then
    while IFS= read -r setting; do settings+=(--set "$setting"); done <"$1/settings"
  fi
  setsid "$program" --config "$dir/spine.toml" "${settings[@]+"${settings[@]}"}" \
    </dev/null >>"$dir/node.log" 2>&1 8>&- &
  pid=$!
  printf '%s\n%s\n%s\n' "$pid" "$(start_time "$pid" || echo 0)" "$program" >"$dir/node.pid"
  # Until then the process is still this shell's child on its way to becoming the node.
  for ((tries = 0; tries < 100; tries++)); do
    if running "$dir/node.pid" >/dev/null || ! kill -0 "$pid" 2>/dev/null; then return 0; fi
    sleep 0.02
  done
}

# note_address DIR I: where cluster.env names node I, it names the address that the node's settings say now.
note_address() {
  local -a all=()
  local address
  [[ -f $1/cluster.env ]] || return 0
  address=$(sed -n 's/^grpc = "\(.*\)"$/\1/p' "$1/node-$2/spine.toml")
  # In the order of the nodes' numbers: start.sh writes it like that, and add-node.sh adds the next one.
  IFS=, read -ra all <<<"$(sed -n 's/^export SPINE_ENDPOINTS=//p' "$1/cluster.env")"
  if [[ -n $address && -n ${all[$2 - 1]:-} && ${all[$2 - 1]} != "$address" ]]; then
    all[$2 - 1]=$address
    (IFS=, && printf 'export SPINE_ENDPOINTS=%s\n' "${all[*]}") >"$1/cluster.env.new"
    mv "$1/cluster.env.new" "$1/cluster.env"
  fi
}

# stop_nodes DIR SECONDS: SIGTERM to every node of DIR that runs, then waits; 1 if one is left.
stop_nodes() {
  local dir=$1 patience=$2 file pid name deadline left
  local -a files=()
  for file in "$dir"/node-*/node.pid; do
    pid=$(running "$file") || continue
    kill -TERM "$pid" 2>/dev/null || true
    files+=("$file")
  done
  deadline=$((SECONDS + patience))
  while ((${#files[@]} > 0)); do
    local -a still=()
    for file in "${files[@]}"; do
      name=$(basename "$(dirname "$file")")
      if pid=$(running "$file"); then
        still+=("$file")
      else
        say "$name has stopped"
        rm -f "$file"
      fi
    done
    files=("${still[@]+"${still[@]}"}")
    ((${#files[@]} == 0)) && return 0
    if ((SECONDS >= deadline)); then
      left=''
      for file in "${files[@]}"; do
        left+=" $(basename "$(dirname "$file")") (process $(running "$file" || true))"
      done
      printf 'still running after %s s:%s\n' "$patience" "$left" >&2
      return 1
    fi
    sleep 0.1
  done
}
