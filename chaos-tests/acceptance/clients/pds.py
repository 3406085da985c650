"""The PDS dialect as an ordinary Python program calls it: the standard library and nothing else."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid

BASE = sys.argv[1] + "/personal-demographics/FHIR/R4"
ELSEWHERE = sys.argv[2] + "/personal-demographics/FHIR/R4"
# The national service has no call that makes a related person.
PLAIN = sys.argv[1] + "/fhir/R4"
PATIENT = "9000000009"
FHIR = {"Content_Type": "application/fhir+json"}


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

# One letter of the given name is missing: (55 x (30 x 1 + 25 x 0.9) / 55 + 25 x 1) / 80.
alike = {"family": "Smythe", "given": "Jane", "birthdate": "eq2005-06-16", "_fuzzy-match": "true"}
status, _, bundle = call("GET", f"/Patient?{urllib.parse.urlencode(alike)}")
found = [(entry["resource"]["id"], entry["search"]["score"]) for entry in bundle["entry"]]
expect("fuzzy search", (status, found), (200, [("9000000025", 0.9687)]))
query = urllib.parse.urlencode({**alike, "_fuzzy-match": "false"})
status, _, bundle = call("GET", f"/Patient?{query}")
expect("the same, not fuzzy", (status, bundle["total"]), (200, 0))
query = urllib.parse.urlencode({**alike, "family": "Sm*"})
status, _, outcome = call("GET", f"/Patient?{query}")
expect("fuzzy wildcard", (status, code(outcome)), (400, "INVALID_SEARCH_DATA"))

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

# A new patient gets a number, and the same request at another node the same one; somebody alike gets none.
authority = {
    "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-RegisteringAuthority",
    "extension": [{"url": "organisationIdentifier", "valueString": "RGS"}],
}
since = {"period": {"start": "2020-01-01"}}
person = {
    "resourceType": "Patient",
    "gender": "female",
    "birthDate": "1969-02-03",
    "name": [{"use": "usual", "given": ["Philippa"], "family": "Acceptance", **since}],
    "address": [{"use": "home", "line": ["1 Trevelyan Square", "Leeds"], "postalCode": "LS1 6AE", **since}],
    "extension": [authority],
}
request_id = str(uuid.uuid4())
status, headers, created = call("POST", "/Patient", person, request_id=request_id, **FHIR)
number = created.get("id", "")
expect("create", (status, len(number), created["meta"]["versionId"]), (201, 10, "1"))
expect("location", headers["Location"].rsplit("/", 1)[-1], number)
status, _, again = call("POST", "/Patient", person, base=ELSEWHERE, request_id=request_id, **FHIR)
expect("create again", (status, again["id"]), (201, number))
status, _, patient = call("GET", f"/Patient/{number}", base=ELSEWHERE)
expect("read of the created", (status, patient["name"][0]["family"]), (200, "Acceptance"))
status, _, outcome = call("POST", "/Patient", person, base=ELSEWHERE, **FHIR)
expect("somebody alike", (status, code(outcome)), (200, "SINGLE_MATCH"))
expect("the number of somebody alike", number in outcome["issue"][0]["diagnostics"], True)
del person["address"]
status, _, outcome = call("POST", "/Patient", person, **FHIR)
expect("create without an address", (status, code(outcome)), (400, "MISSING_VALUE"))
application = {**FHIR, "spine_access_mode": "application-restricted"}
status, _, outcome = call("POST", "/Patient", person, **application)
expect("create by an application", (status, code(outcome)), (403, "INVALID_METHOD"))

# Related persons, by what is known of them or by their own number.
status, _, bundle = call("GET", f"/Patient/{number}/RelatedPerson")
expect("nobody related", (status, bundle["type"], bundle["total"]), (200, "searchset", 0))
details = {"name": [{"given": ["Mary"], "family": "Acceptance"}], "address": [{"line": ["1 High Street"]}]}
referenced = {"identifier": [{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": PATIENT}]}
for relationship, who in [("MTH", details), ("SIS", referenced)]:
    related = {
        "resourceType": "RelatedPerson",
        "patient": {"reference": f"Patient/{number}"},
        "relationship": [{"coding": [{"code": relationship}]}],
        **who,
    }
    status, _, _ = call("POST", "/RelatedPerson", related, base=PLAIN, **FHIR)
    expect("related person", status, 201)
status, _, bundle = call("GET", f"/Patient/{number}/RelatedPerson", base=ELSEWHERE)
expect("related", (status, bundle["total"]), (200, 2))
mother, sister = (entry["resource"] for entry in bundle["entry"])
expect("relationship", mother["relationship"][0]["coding"][0]["code"], "MTH")
expect("details", mother["name"][0]["given"], ["Mary"])
expect("own number", sister["patient"]["identifier"]["value"], PATIENT)
status, _, bundle = call("GET", "/Patient/9000000025/RelatedPerson")
expect("related to a restricted patient", (status, bundle["total"]), (200, 0))
status, _, outcome = call("GET", "/Patient/9111231130/RelatedPerson")
expect("related to nobody", (status, code(outcome)), (404, "RESOURCE_NOT_FOUND"))
