"""PyPI fhirpy: reads, changes, creates and searches in the plain dialect, searches in that of PDS."""

import sys
import uuid

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

PATIENT = "9000000017"


def expect(what, seen, expected):
    if seen != expected:
        sys.exit(f"{what}: {seen!r}, not {expected!r}")


plain = SyncFHIRClient(sys.argv[1] + "/fhir/R4")
patient = plain.reference("Patient", PATIENT).to_resource()
expect("read", (patient["id"], patient.get_by_path(["name", 0, "family"])), (PATIENT, "Smyth"))
version = int(patient["meta"]["versionId"])
patient["gender"] = "unknown"
patient.save()
expect("update", plain.reference("Patient", PATIENT).to_resource()["meta"]["versionId"], str(version + 1))
# Its patch is of no media type that FHIR names, so it is not tried.
patient["gender"] = "female"
patient.save()
expect("update", plain.reference("Patient", PATIENT).to_resource()["gender"], "female")
# A new patient gets a number, and is found by it and by name.
person = {
    "name": [{"use": "usual", "given": ["Fhirpy"], "family": "Acceptance"}],
    "gender": "female",
    "birthDate": "1971-03-04",
}
created = plain.resource("Patient", **person)
created.save()
expect("create", (len(created["id"]), created["meta"]["versionId"]), (10, "1"))
again = plain.reference("Patient", created["id"]).to_resource()
expect("read of the created", again.get_by_path(["name", 0, "family"]), "Acceptance")
patients = plain.resources("Patient")
by_number = patients.search(_id=created["id"]).fetch()
expect("search by id", [one["id"] for one in by_number], [created["id"]])
by_name = patients.search(family="Acceptance", birthdate="1971-03-04").fetch_all()
expect("search by name", [one["id"] for one in by_name], [created["id"]])
# Somebody alike is not created again.
try:
    plain.resource("Patient", **person).save()
    sys.exit("somebody alike was created")
except OperationOutcome:
    pass
try:
    plain.reference("Patient", "9111231130").to_resource()
    sys.exit("an absent patient was found")
except ResourceNotFound:
    pass

pds = SyncFHIRClient(
    sys.argv[2] + "/personal-demographics/FHIR/R4", extra_headers={"X-Request-ID": str(uuid.uuid4())}
)
found = pds.resources("Patient").search(family="Smyth", birthdate="eq2010-10-22").fetch()
expect("search", [one["id"] for one in found], [PATIENT])
