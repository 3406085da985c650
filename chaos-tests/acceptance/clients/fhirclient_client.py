"""PyPI fhirclient: typed models of FHIR R4, which refuse what is none."""

import sys
import uuid

from fhirclient import client
from fhirclient.models.bundle import Bundle
from fhirclient.models.capabilitystatement import CapabilityStatement
from fhirclient.models.humanname import HumanName
from fhirclient.models.patient import Patient

PATIENT = "9000000009"


def expect(what, seen, expected):
    if seen != expected:
        sys.exit(f"{what}: {seen!r}, not {expected!r}")


plain = client.FHIRClient(settings={"app_id": "acceptance", "api_base": sys.argv[1] + "/fhir/R4"})
statement = CapabilityStatement.read_from("metadata", plain.server)
expect("metadata", (statement.fhirVersion, statement.rest[0].resource[0].type), ("4.0.1", "Patient"))
patient = Patient.read(PATIENT, plain.server)
expect("read", (patient.id, patient.name[0].family, patient.gender), (PATIENT, "Smith", patient.gender))
before = int(patient.meta.versionId)
patient.multipleBirthInteger = 2
patient.update(plain.server)
expect("update", int(Patient.read(PATIENT, plain.server).meta.versionId), before + 1)
history = Bundle.read_from(f"Patient/{PATIENT}/_history", plain.server)
expect("history", (history.type, history.total), ("history", before + 1))

# A new patient gets a number, and is found by it and by name.
name = HumanName({"use": "usual", "given": ["Smart"], "family": "Acceptance"})
person = Patient({"gender": "male", "birthDate": "1972-04-05", "name": [name.as_json()]})
created = person.create(plain.server)
expect("create", (len(created["id"]), created["meta"]["versionId"]), (10, "1"))
expect("read of the created", Patient.read(created["id"], plain.server).name[0].family, "Acceptance")
by_number = Patient.where({"_id": created["id"]}).perform_resources(plain.server)
expect("search by id", [one.id for one in by_number], [created["id"]])
by_name = Patient.where({"family": "Acceptance", "birthdate": "1972-04-05"}).perform_resources(plain.server)
expect("search by name", [one.id for one in by_name], [created["id"]])

pds = client.FHIRClient(
    settings={"app_id": "acceptance", "api_base": sys.argv[2] + "/personal-demographics/FHIR/R4"}
)
pds.server.session.headers["X-Request-ID"] = str(uuid.uuid4())
search = Patient.where({"family": "Smythe", "birthdate": "eq2005-06-16"})
expect("search", [one.id for one in search.perform_resources(pds.server)], ["9000000025"])
