// npm fhir-kit-client: reads, changes, creates and searches in the plain dialect, searches in that of PDS.

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

// A new patient gets a number, and is found by it and by name, page by page.
const person = (given) => ({
  resourceType: 'Patient',
  name: [{ use: 'usual', given: [given], family: 'Acceptance' }],
  gender: 'female',
  birthDate: '1973-05-06',
});
const create = async (given) => (await plain.create({ resourceType: 'Patient', body: person(given) })).id;
const created = [await create('Kit'), await create('Wilhelmina')].sort();
expect('create', created.map((id) => id.length), [10, 10]);
const again = await plain.read({ resourceType: 'Patient', id: created[0] });
expect('read of the created', [again.name[0].family, again.meta.versionId], ['Acceptance', '1']);
const alike = await create('Kit').catch((error) => error.response.status);
expect('create of somebody alike', alike, 409);
const byNumber = await plain.search({ resourceType: 'Patient', searchParams: { _id: created[0] } });
expect('search by id', byNumber.entry.map((entry) => entry.resource.id), [created[0]]);
const first = await plain.search({
  resourceType: 'Patient',
  searchParams: { family: 'Acceptance', birthdate: '1973-05-06', _count: 1 },
});
const second = await plain.nextPage({ bundle: first });
const pages = [first, second].flatMap((page) => page.entry.map((entry) => entry.resource.id));
expect('search page by page', pages, created);

const pds = new Client({
  baseUrl: `${two}/personal-demographics/FHIR/R4`,
  customHeaders: { 'X-Request-ID': randomUUID() },
});
const found = await pds.search({
  resourceType: 'Patient',
  searchParams: { family: 'Smith', given: ['John Paul', 'James'], gender: 'male', birthdate: 'eq2010-10-22' },
});
expect('search', found.entry.map((entry) => entry.resource.id), [PATIENT]);
