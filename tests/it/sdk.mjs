// The calls that scripts make, by Cloudflare's published SDK for Node.
//
// Nothing is patched: only the base URL and the token are not Cloudflare's.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import Cloudflare from 'cloudflare';

const [baseURL, apiToken, directory] = process.argv.slice(-3);
const client = new Cloudflare({ baseURL, apiToken, maxRetries: 0, timeout: 30_000 });
const read = (name) => readFileSync(`${directory}/${name}`, 'utf8');

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

/** The call must fail with the expected status, in the envelope, with something to read in it. */
async function refused(status, call) {
  try {
    const answer = await call();
    assert.fail(`not refused: ${JSON.stringify(answer)}`);
  } catch (error) {
    if (!(error instanceof Cloudflare.APIError)) throw error;
    assert.equal(error.status, status, JSON.stringify(error.error));
    assert.ok(error.errors[0].code >= 1000 && error.errors[0].message, JSON.stringify(error.error));
    return error.errors[0].message;
  }
}

const [account] = await all(client.accounts.list());
const account_id = account.id;
assert.equal((await client.accounts.get({ account_id })).id, account_id);
assert.equal((await client.user.tokens.verify()).status, 'active');

const zone = await client.zones.create({ account: { id: account_id }, name: 'node.test' });
const zone_id = zone.id;
assert.deepEqual((await all(client.zones.list({ name: 'node.test' }))).map((one) => one.id), [zone_id]);
assert.equal((await client.zones.edit({ zone_id, paused: false })).id, zone_id);

// A proxied record is a host; then its CA can be believed.
const record = await client.dns.records.create({
  zone_id, type: 'A', name: 'api', content: '192.0.2.7', proxied: true, ttl: 1,
});
assert.equal(record.name, 'api.node.test');
assert.deepEqual((await all(client.dns.records.list({ zone_id }))).map((one) => one.id), [record.id]);
const moved = await client.dns.records.edit(record.id, {
  zone_id, type: 'CNAME', name: 'api.node.test', content: 'origin.test', ttl: 1,
});
assert.deepEqual([moved.id, moved.type, moved.content], [record.id, 'CNAME', 'origin.test']);
const txt = { zone_id, type: 'TXT', name: 't', content: '"x"', ttl: 1 };
assert.match(await refused(400, () => client.dns.records.create(txt)), /no name server/);
const { hostnameAssociations } = client.certificateAuthorities;
const hostnames = ['api.node.test'];
assert.deepEqual((await hostnameAssociations.update({ zone_id, hostnames })).hostnames, hostnames);
const wrong = { zone_id, hostnames: ['no.node.test'] };
assert.match(await refused(400, () => hostnameAssociations.update(wrong)), /there is no host/);

// Client certificates.
const csr = read('device.csr');
const issued = await client.clientCertificates.create({ zone_id, csr, validity_days: 30 });
assert.equal(issued.status, 'active');
assert.match(issued.certificate, /BEGIN CERTIFICATE/);
assert.equal((await all(client.clientCertificates.list({ zone_id }))).length, 1);
const revoked = await client.clientCertificates.delete(issued.id, { zone_id });
assert.match(revoked.status, /revo/);

// Settings and forwarding.
assert.equal((await client.zones.settings.get('http2', { zone_id })).value, 'on');
const strict_transport_security = { enabled: true, max_age: 31536000 };
const hsts = await client.zones.settings.edit('security_header', {
  zone_id, value: { strict_transport_security },
});
assert.equal(hsts.value.strict_transport_security.max_age, 31536000);
const managed = await client.managedTransforms.edit({
  zone_id,
  managed_request_headers: [{ id: 'add_client_certificate_headers', enabled: true }],
  managed_response_headers: [],
});
assert.equal(managed.managed_request_headers[0].enabled, true);
const forwarded = await all(client.zeroTrust.access.certificates.settings.update({
  zone_id,
  settings: [{ hostname: 'api.node.test', china_network: false, client_certificate_forwarding: true }],
}));
assert.equal(forwarded[0].client_certificate_forwarding, true);

// Rules of every phase.
const response = await client.rulesets.phases.get('http_response_headers_transform', { zone_id });
assert.equal(response.rules[0].ref, 'security_header');
for (const [phase, action, expression, more] of [
  ['http_request_firewall_custom', 'block', 'not cf.tls_client_auth.cert_verified', {}],
  ['http_request_firewall_custom', 'skip', 'ssl', { action_parameters: { ruleset: 'current' } }],
  ['http_ratelimit', 'block', 'true', {
    ratelimit: { characteristics: ['ip.src', 'cf.colo.id'], period: 60, requests_per_period: 10 },
  }],
  ['http_request_late_transform', 'rewrite', 'true', {
    action_parameters: { headers: { 'x-a': { operation: 'set', value: '1' } } },
  }],
  ['http_request_dynamic_redirect', 'redirect', 'http.host eq "node.test"', {
    action_parameters: { from_value: { target_url: { value: 'https://www.node.test/' }, status_code: 302 } },
  }],
  ['http_request_origin', 'route', 'true', { action_parameters: { origin: { port: 8443 } } }],
]) {
  const rules = [{ action, expression, ...more }];
  const ruleset = await client.rulesets.phases.update(phase, { zone_id, rules });
  assert.equal(ruleset.rules[0].action, action, phase);
  await client.rulesets.delete(ruleset.id, { zone_id });
}

const logs = await client.auditLogs.list({ account_id, per_page: 5 });
assert.equal(logs.result.length, 5);
assert.ok(logs.result[0].when);

assert.equal((await client.dns.records.delete(record.id, { zone_id })).id, record.id);
assert.equal((await client.zones.delete({ zone_id })).id, zone_id);
await refused(404, () => client.zones.get({ zone_id }));
console.log('all good');
