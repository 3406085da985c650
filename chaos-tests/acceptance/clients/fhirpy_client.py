"""PyPI fhirpy: reads and changes in the plain dialect, searches in that of PDS."""

import sys
import uuid

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound

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
