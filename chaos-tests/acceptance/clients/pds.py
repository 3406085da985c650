"""The PDS dialect as an ordinary Python program calls it: the standard library and nothing else."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid

BASE = sys.argv[1] + "/personal-demographics/FHIR/R4"
ELSEWHERE = sys.argv[2] + "/personal-demographics/FHIR/R4"
PATIENT = "9000000009"


def call(method, path, body=None, base=BASE, request_id=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers["X-Request-ID"] = request_id or str(uuid.uuid4())
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, json.load(answer)


def expect(what, seen, expected):
    if seen != expected:
        sys.exit(f"{what}: {seen!r}, not {expected!r}")


def code(outcome):
    return outcome["issue"][0]["details"]["coding"][0]["code"]


status, headers, patient = call("GET", f"/Patient/{PATIENT}")
expect("read", (status, patient["id"]), (200, PATIENT))
etag = headers["ETag"]
expect("etag", etag, f'W/"{patient["meta"]["versionId"]}"')

query = urllib.parse.urlencode({"family": "Sm*", "gender": "female", "birthdate": "eq2010-10-22"})
status, _, bundle = call("GET", f"/Patient?{query}")
expect("search", (status, bundle["type"], bundle["total"]), (200, "searchset", 2))
expect("score", [entry["search"]["score"] for entry in bundle["entry"]], [1, 1])

status, _, patient = call("GET", "/Patient/9000000025")
hidden = [name for name in ("address", "telecom", "contact", "generalPractitioner") if name in patient]
expect("restricted", (status, hidden), (200, []))

name = {"use": "old", "period": {"start": "2019-12-31"}, "given": ["Joe"], "family": "Bloggs"}
patches = {"patches": [{"op": "add", "path": "/name/-", "value": name}]}
change = {"If_Match": etag, "Content_Type": "application/json-patch+json"}
request_id = str(uuid.uuid4())
status, headers, changed = call("PATCH", f"/Patient/{PATIENT}", patches, request_id=request_id, **change)
expect("patch", (status, changed["name"][-1]["family"]), (200, "Bloggs"))
# The answer was lost; the same request at another node takes effect no second time.
status, again, same = call("PATCH", f"/Patient/{PATIENT}", patches, base=ELSEWHERE, request_id=request_id, **change)
expect("retry", (status, again["ETag"], same), (200, headers["ETag"], changed))

status, _, outcome = call("PATCH", f"/Patient/{PATIENT}", patches, **change)
expect("stale", (status, code(outcome)), (409, "RESOURCE_VERSION_MISMATCH"))
status, _, outcome = call("PATCH", f"/Patient/{PATIENT}", patches, Content_Type="application/json-patch+json")
expect("no If-Match", (status, code(outcome)), (412, "PRECONDITION_FAILED"))
removal = {"patches": [{"op": "remove", "path": "/gender"}]}
current = {"If_Match": headers["ETag"], "Content_Type": "application/json-patch+json"}
status, _, outcome = call("PATCH", f"/Patient/{PATIENT}", removal, **current)
expect("forbidden", (status, code(outcome)), (403, "FORBIDDEN_UPDATE"))
status, _, outcome = call("GET", "/Patient/9111231130")
expect("absent", (status, code(outcome)), (404, "RESOURCE_NOT_FOUND"))
status, _, outcome = call("GET", "/Patient/9000000000")
expect("no number", (status, code(outcome)), (400, "INVALID_RESOURCE_ID"))
