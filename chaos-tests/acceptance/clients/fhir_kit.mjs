// npm fhir-kit-client: reads and changes in the plain dialect, searches in that of PDS.

import { randomUUID } from 'node:crypto';
import { Client } from 'fhir-kit-client';

const PATIENT = '9000000041';
const expect = (what, seen, expected) => {
  if (JSON.stringify(seen) !== JSON.stringify(expected)) {
    console.error(`${what}: ${JSON.stringify(seen)}, not ${JSON.stringify(expected)}`);
    process.exit(1);
  }
};
const [one, two] = process.argv.slice(2);
const plain = new Client({ baseUrl: `${one}/fhir/R4` });
const statement = await plain.capabilityStatement();
expect('metadata', statement.resourceType, 'CapabilityStatement');
const patient = await plain.read({ resourceType: 'Patient', id: PATIENT });
expect('read', [patient.id, patient.name[0].family], [PATIENT, 'Smith']);
const version = Number(patient.meta.versionId);
const updated = await plain.update({ resourceType: 'Patient', id: PATIENT, body: { ...patient, gender: 'unknown' } });
expect('update', Number(updated.meta.versionId), version + 1);
const patched = await plain.patch({
  resourceType: 'Patient',
  id: PATIENT,
  jsonPatch: [{ op: 'replace', path: '/gender', value: 'male' }],
});
expect('patch', [patched.gender, Number(patched.meta.versionId)], ['male', version + 2]);
const old = await plain.vread({ resourceType: 'Patient', id: PATIENT, version: String(version) });
expect('vread', old.meta.versionId, String(version));
const history = await plain.history({ resourceType: 'Patient', id: PATIENT });
expect('history', [history.type, history.entry.length], ['history', version + 2]);
const absent = await plain.read({ resourceType: 'Patient', id: '9111231130' }).catch((error) => error.response.status);
expect('absent', absent, 404);

const pds = new Client({
  baseUrl: `${two}/personal-demographics/FHIR/R4`,
  customHeaders: { 'X-Request-ID': randomUUID() },
});
const found = await pds.search({
  resourceType: 'Patient',
  searchParams: { family: 'Smith', given: ['John Paul', 'James'], gender: 'male', birthdate: 'eq2010-10-22' },
});
expect('search', found.entry.map((entry) => entry.resource.id), [PATIENT]);
