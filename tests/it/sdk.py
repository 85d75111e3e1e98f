"""Every call of Cloudflare's API that Postern answers, made by Cloudflare's published SDK.

Nothing is patched: only the base URL and the token are not Cloudflare's.
"""

import json
import re
import sys
from types import SimpleNamespace

import cloudflare
from cloudflare import Cloudflare, DefaultHttpxClient

base_url, token, directory = sys.argv[1:4]


def read(name):
    with open(directory + '/' + name) as file:
        return file.read()


made = set()


def note(request):
    """Remembers a call by its method and the shape of its path."""
    path = request.url.path.removeprefix('/client/v4')
    path = re.sub(r'/[0-9a-f]{8}-[0-9a-f-]{27}(?=/|$)', '/{id}', path)
    path = re.sub(r'/([0-9a-f]{32}|[0-9]+)(?=/|$)', '/{id}', path)
    path = re.sub(r'/settings/[a-z0-9_]+$', '/settings/{setting}', path)
    made.add(request.method + ' ' + re.sub(r'/phases/[a-z_]+', '/phases/{phase}', path))


# The SDK's own HTTP client; it only tells what it sends.
client = Cloudflare(
    base_url=base_url, api_token=token, max_retries=0, timeout=30,
    http_client=DefaultHttpxClient(event_hooks={'request': [note]}),
)


def refused(expected, call, *arguments, **named):
    """The call must fail with the expected status, in the envelope, with something to read in it."""
    try:
        answer = call(*arguments, **named)
    except cloudflare.APIStatusError as error:
        assert error.status_code == expected, (error.status_code, error.body, named)
        body = error.response.json()
        assert body['success'] is False and body['result'] is None, body
        assert body['errors'] and all(e['code'] >= 1000 and e['message'] for e in body['errors']), body
        return body['errors'][0]['message']
    raise AssertionError(('not refused', answer, named))


def got(answer):
    """The SDK declares answers about rulesets as `Union[Ruleset, object]` and hands out dictionaries."""
    if not isinstance(answer, dict):
        return answer
    return json.loads(json.dumps(answer, default=str), object_hook=lambda fields: SimpleNamespace(**fields))


# Zones.
account = next(iter(client.accounts.list())).id
zone = client.zones.create(account={'id': account}, name='sdk.test')
assert zone.name == 'sdk.test' and zone.account.id == account and zone.status == 'active', zone
assert client.zones.get(zone_id=zone.id).name == 'sdk.test'
assert [found.id for found in client.zones.list(name='sdk.test')] == [zone.id]
refused(400, client.zones.create, account={'id': account}, name='not a name')
refused(404, client.zones.get, zone_id='0' * 32)
refused(404, client.zones.get, zone_id='no-id')

# Who is asking, and where.
verified = client.user.tokens.verify()
assert verified.status == 'active' and verified.expires_on, verified
assert client.accounts.get(account_id=account).id == account
refused(404, client.accounts.get, account_id='0' * 32)
assert client.zones.edit(zone_id=zone.id, paused=False).id == zone.id
assert 'skip' in refused(400, client.zones.edit, zone_id=zone.id, paused=True)

# Host-name associations of the managed CA: of names that are hosts.
associations = client.certificate_authorities.hostname_associations
names = ['api.sdk.test', 'www.sdk.test']
message = refused(400, associations.update, zone_id=zone.id, hostnames=names)
assert 'no host `api.sdk.test`' in message and 'postern host add' in message, message

# Records: a proxied one is a host.
records = client.dns.records
api = records.create(zone_id=zone.id, type='A', name='api', content='192.0.2.7', proxied=True, ttl=1)
assert (api.name, api.type, api.content, api.proxied) == ('api.sdk.test', 'A', '192.0.2.7', True), api
www = records.create(
    zone_id=zone.id, type='CNAME', name='www.sdk.test', content='app.origin.test', proxied=True, ttl=300)
assert (www.name, www.type, www.content) == ('www.sdk.test', 'CNAME', 'app.origin.test'), www
raw = records.with_raw_response.create(
    zone_id=zone.id, type='AAAA', name='@', content='2001:db8::7', proxied=True, ttl=300, comment='c')
six = raw.http_response.json()
assert [m['message'].split()[0] for m in six['messages']] == ['ttl', 'comment'], six
assert (six['result']['name'], six['result']['content']) == ('sdk.test', '2001:db8::7'), six
assert sorted(one.name for one in records.list(zone_id=zone.id)) == ['api.sdk.test', 'sdk.test', 'www.sdk.test']
assert [one.id for one in records.list(zone_id=zone.id, name={'exact': 'api.sdk.test'})] == [api.id]
assert [one.id for one in records.list(zone_id=zone.id, type='CNAME')] == [www.id]
assert [one.id for one in records.list(zone_id=zone.id, name={'startswith': 'www'})] == [www.id]
refused(400, records.list, zone_id=zone.id, comment={'contains': 'x'})
assert records.get(www.id, zone_id=zone.id).content == 'app.origin.test'
assert records.edit(api.id, zone_id=zone.id, type='A', name='api', content='192.0.2.8', ttl=1).content == '192.0.2.8'
moved = records.update(
    www.id, zone_id=zone.id, type='A', name='www', content='192.0.2.9', proxied=True, ttl=1)
assert (moved.id, moved.type, moved.content) == (www.id, 'A', '192.0.2.9'), moved
for wrong, says in (
        (dict(type='TXT', name='t', content='"x"', ttl=1), 'no name server'),
        (dict(type='MX', name='m', content='mx.test', priority=1, ttl=1), 'no name server'),
        (dict(type='A', name='u', content='192.0.2.1', proxied=False, ttl=1), 'unproxied'),
        (dict(type='A', name='u', content='192.0.2.1', ttl=1), 'unproxied'),
        (dict(type='A', name='u', content='2001:db8::1', proxied=True, ttl=1), 'IPv4'),
        (dict(type='CNAME', name='u', content='192.0.2.1', proxied=True, ttl=1), 'not an address'),
        (dict(type='A', name='api', content='192.0.2.1', proxied=True, ttl=1), 'api.sdk.test')):
    message = refused(400, records.create, zone_id=zone.id, **wrong)
    assert says in message, (wrong, message)
message = refused(400, records.edit, api.id, zone_id=zone.id, type='A', name='other', content='192.0.2.8', ttl=1)
assert 'another name' in message, message
refused(404, records.get, '0' * 32, zone_id=zone.id)
assert records.delete(six['result']['id'], zone_id=zone.id).id == six['result']['id']

# Settings: one can be changed, the others say what to use.
settings = client.zones.settings
for name in ('http2', 'websockets', 'tls_1_3', 'always_use_https'):
    assert settings.get(name, zone_id=zone.id).value == 'on', name
    assert settings.edit(name, zone_id=zone.id, value='on').value == 'on', name
    refused(400, settings.edit, name, zone_id=zone.id, value='off')
assert settings.get('tls_client_auth', zone_id=zone.id).value == 'off'
assert 'hostname_associations' in refused(400, settings.edit, 'tls_client_auth', zone_id=zone.id, value='on')
assert 'security_header' in refused(404, settings.get, 'rocket_loader', zone_id=zone.id)
hsts = {'enabled': True, 'max_age': 31536000, 'include_subdomains': True, 'nosniff': True}
header = settings.edit('security_header', zone_id=zone.id, value={'strict_transport_security': hsts})
assert header.value.strict_transport_security.max_age == 31536000, header
header = settings.get('security_header', zone_id=zone.id).value.strict_transport_security
assert (header.enabled, header.include_subdomains, header.preload, header.nosniff) == (True, True, False, True), header
raw = client.rulesets.phases.with_raw_response.get('http_response_headers_transform', zone_id=zone.id)
rule = raw.http_response.json()['result']['rules'][0]
hsts = rule['action_parameters']['headers']['strict-transport-security']['value']
assert hsts == 'max-age=31536000; includeSubDomains', rule
refused(400, settings.edit, 'security_header', zone_id=zone.id,
        value={'strict_transport_security': {'max_age': -1}})

# Whether origins are told of the client's certificate.
transform = 'add_client_certificate_headers'
managed = client.managed_transforms
assert managed.list(zone_id=zone.id).managed_request_headers[0].enabled is False
on = managed.edit(zone_id=zone.id, managed_response_headers=[], managed_request_headers=[
    {'id': transform, 'enabled': True}, {'id': 'add_visitor_location_headers', 'enabled': False}])
assert [(one.id, one.enabled) for one in on.managed_request_headers] == [(transform, True)], on
assert managed.list(zone_id=zone.id).managed_request_headers[0].enabled is True
message = refused(400, managed.edit, zone_id=zone.id, managed_response_headers=[], managed_request_headers=[
    {'id': 'add_visitor_location_headers', 'enabled': True}])
assert transform in message, message
forwarding = client.zero_trust.access.certificates.settings
shown = {one.hostname: one.client_certificate_forwarding for one in forwarding.get(zone_id=zone.id)}
assert shown == {'api.sdk.test': False, 'www.sdk.test': False}, shown
shown = forwarding.update(zone_id=zone.id, settings=[
    {'hostname': 'api.sdk.test', 'china_network': False, 'client_certificate_forwarding': True}])
assert {one.hostname: one.client_certificate_forwarding for one in shown}['api.sdk.test'] is True, shown
refused(404, forwarding.update, zone_id=zone.id, settings=[
    {'hostname': 'no.sdk.test', 'china_network': False, 'client_certificate_forwarding': True}])

# Who changed what.
logs = client.audit_logs.list(account_id=account, per_page=5)
newest = logs.result[0]
assert newest.resource.type == 'host' and newest.action.type == 'update' and newest.when, newest
assert len(list(client.audit_logs.list(account_id=account, per_page=5))) > 10
assert list(client.audit_logs.list(account_id=account, before='2020-01-01')) == []
assert 'since' in refused(400, client.audit_logs.list, account_id=account, direction='asc')
assert sorted(associations.update(zone_id=zone.id, hostnames=names).hostnames) == names
assert sorted(associations.get(zone_id=zone.id).hostnames) == names
refused(400, associations.update, zone_id=zone.id, hostnames=['not a name'])
refused(400, associations.update, zone_id=zone.id, hostnames=names + ['misspelt.sdk.test'])
assert sorted(associations.get(zone_id=zone.id).hostnames) == names

# Client certificates: issued from a request, paged through, revoked, restored.
certificates = client.client_certificates
csr = read('device.csr')
issued = [certificates.create(zone_id=zone.id, csr=csr, validity_days=30) for _ in range(7)]
first = issued[0]
assert first.status == 'active' and first.common_name == 'device', first
assert 'BEGIN CERTIFICATE' in first.certificate and first.csr.strip() == csr.strip(), first
assert first.validity_days == 30 and first.certificate_authority.name, first
assert len({one.serial_number for one in issued}) == 7
one_page = certificates.list(zone_id=zone.id, per_page=5, page=1)
assert len(one_page.result) == 5, one_page
assert one_page.result_info.page == 1 and one_page.result_info.per_page == 5, one_page
every = [one.id for one in certificates.list(zone_id=zone.id, per_page=5)]
assert sorted(every) == sorted(one.id for one in issued), every
some = certificates.list(zone_id=zone.id, limit=5, offset=5)
assert len(some.result) == 2, some
assert certificates.get(first.id, zone_id=zone.id).fingerprint_sha256 == first.fingerprint_sha256
assert certificates.delete(first.id, zone_id=zone.id).status in ('pending_revocation', 'revoked')
revoked = list(certificates.list(zone_id=zone.id, status='revoked'))
assert [one.id for one in revoked] == [first.id], revoked
assert certificates.edit(first.id, zone_id=zone.id, reactivate=True).status in ('pending_reactivation', 'active')
assert list(certificates.list(zone_id=zone.id, status='revoked')) == []
refused(400, certificates.create, zone_id=zone.id, csr='no request', validity_days=30)
for days in (0, -1, 10_000_000, 'ten'):
    refused(400, certificates.create, zone_id=zone.id, csr=csr, validity_days=days)
refused(400, certificates.list, zone_id=zone.id, status='unheard of')
refused(404, certificates.get, '00000000-0000-4000-8000-000000000000', zone_id=zone.id)

# An uploaded CA, and hosts that believe it.
uploads = client.mtls_certificates
ca = uploads.create(account_id=account, ca=True, certificates=read('ca.pem'), name='partners')
assert ca.name == 'partners' and ca.ca is True and ca.id, ca
assert [one.id for one in uploads.list(account_id=account)] == [ca.id]
assert uploads.get(ca.id, account_id=account).serial_number == ca.serial_number
associations.update(zone_id=zone.id, hostnames=['api.sdk.test'], mtls_certificate_id=ca.id)
assert associations.get(zone_id=zone.id, mtls_certificate_id=ca.id).hostnames == ['api.sdk.test']
assert list(uploads.associations.get(ca.id, account_id=account)), 'it is associated'
message = refused(400, uploads.delete, ca.id, account_id=account)
assert 'associat' in message or 'host' in message, message
refused(400, uploads.create, account_id=account, ca=True, certificates='no certificate', name='x')
refused(400, uploads.create, account_id=account, ca=True, certificates=read('server.pem'), name='a leaf')
refused(404, uploads.get, '00000000-0000-4000-8000-000000000000', account_id=account)
refused(404, uploads.list, account_id='0' * 32)
associations.update(zone_id=zone.id, hostnames=[], mtls_certificate_id=ca.id)
assert uploads.delete(ca.id, account_id=account).id == ca.id
assert list(uploads.list(account_id=account)) == []

# Server certificates.
servers = client.custom_certificates
pair = dict(certificate=read('server.pem'), private_key=read('server.key'))
server = servers.create(zone_id=zone.id, bundle_method='force', **pair)
assert 'api.sdk.test' in server.hosts and server.status == 'active', server
assert [one.id for one in servers.list(zone_id=zone.id)] == [server.id]
assert servers.get(server.id, zone_id=zone.id).issuer == server.issuer
assert servers.edit(server.id, zone_id=zone.id, **pair).id == server.id
refused(400, servers.create, zone_id=zone.id, certificate=read('ca.pem'), private_key=read('server.key'))
refused(400, servers.create, zone_id=zone.id, certificate='', private_key='')
message = refused(400, servers.delete, server.id, zone_id=zone.id)
assert 'api.sdk.test' in message, message
records.delete(api.id, zone_id=zone.id)
assert servers.delete(server.id, zone_id=zone.id).id == server.id
refused(404, servers.get, server.id, zone_id=zone.id)

# Rulesets, rules, their order, their versions.
phase = 'http_request_firewall_custom'
mtls = 'not cf.tls_client_auth.cert_verified'
ruleset = got(client.rulesets.create(
    zone_id=zone.id, kind='zone', name='mine', phase=phase,
    rules=[{'action': 'block', 'expression': mtls, 'description': 'one', 'ref': 'one'}],
))
assert ruleset.phase == phase and [rule.description for rule in ruleset.rules] == ['one'], ruleset
rules = client.rulesets.rules
order = lambda ruleset: [rule.description for rule in got(ruleset).rules]
added = got(rules.create(
    ruleset.id, zone_id=zone.id, action='block', expression=mtls + ' and http.request.uri.path eq "/two"',
    description='two', action_parameters={'response': {
        'status_code': 401, 'content_type': 'application/json', 'content': '{"who": "you"}'}},
))
assert order(added) == ['one', 'two'], added
added = got(rules.create(
    ruleset.id, zone_id=zone.id, action='log', expression='true', description='three', position={'index': 1}))
assert order(added) == ['three', 'one', 'two'], added
named = {rule.description: rule.id for rule in added.rules}
moved = got(rules.edit(named['two'], ruleset_id=ruleset.id, zone_id=zone.id, position={'before': named['three']}))
assert order(moved) == ['two', 'three', 'one'], moved
assert moved.rules[0].action_parameters.response.status_code == 401, moved
moved = got(rules.edit(named['two'], ruleset_id=ruleset.id, zone_id=zone.id, position={'after': named['one']}))
assert order(moved) == ['three', 'one', 'two'], moved
changed = got(rules.edit(
    named['one'], ruleset_id=ruleset.id, zone_id=zone.id,
    action='block', expression=mtls, description='uno', enabled=False))
assert order(changed) == ['three', 'uno', 'two'] and changed.rules[1].enabled is False, changed
left = got(rules.delete(named['three'], ruleset_id=ruleset.id, zone_id=zone.id))
assert order(left) == ['uno', 'two'], left
message = refused(
    400, rules.create, ruleset.id, zone_id=zone.id, action='block', expression='cf.tls_client_auth.cert_verifed')
assert 'Filter parsing error' in message, message
refused(400, rules.create, ruleset.id, zone_id=zone.id, action='no action', expression='true')
refused(400, rules.create, ruleset.id, zone_id=zone.id, action='block', expression='true',
        action_parameters={'response': {'status_code': 200, 'content_type': 'text/html', 'content': ''}})
refused(404, rules.delete, '0' * 32, ruleset_id=ruleset.id, zone_id=zone.id)
for other in ('no_phase',):
    message = refused(400, client.rulesets.phases.get, other, zone_id=zone.id)
    assert 'http_request_firewall_custom' in message, message
now = got(client.rulesets.get(ruleset.id, zone_id=zone.id))
assert order(now) == ['uno', 'two'] and now.version == left.version, now
versions = [got(one).version for one in client.rulesets.versions.list(ruleset.id, zone_id=zone.id)]
assert now.version in versions and len(versions) == 7, versions
assert order(client.rulesets.versions.get('1', ruleset_id=ruleset.id, zone_id=zone.id)) == ['one']
refused(404, client.rulesets.versions.get, '99', ruleset_id=ruleset.id, zone_id=zone.id)
of_phase = client.rulesets.phases.versions
assert [got(one).version for one in of_phase.list(phase, zone_id=zone.id)] == versions
assert order(of_phase.get('1', ruleset_phase=phase, zone_id=zone.id)) == ['one']
assert order(client.rulesets.phases.get(phase, zone_id=zone.id)) == ['uno', 'two']
entry = got(client.rulesets.phases.update(
    phase, zone_id=zone.id, rules=[{'action': 'block', 'expression': mtls, 'description': 'only'}]))
assert order(entry) == ['only'], entry
replaced = got(client.rulesets.update(
    ruleset.id, zone_id=zone.id, kind='zone', phase=phase, name='mine', rules=[]))
assert not replaced.rules, replaced
assert ruleset.id in [got(one).id for one in client.rulesets.list(zone_id=zone.id)]
client.rulesets.delete(ruleset.id, zone_id=zone.id)
refused(404, client.rulesets.get, ruleset.id, zone_id=zone.id)

# The phases beside it.
limit = {'characteristics': ['cf.colo.id', 'ip.src'], 'period': 60, 'requests_per_period': 100,
         'mitigation_timeout': 600}
refused(404, client.rulesets.phases.get, 'http_ratelimit', zone_id=zone.id)
limits = got(client.rulesets.phases.update('http_ratelimit', zone_id=zone.id, rules=[
    {'action': 'block', 'expression': 'http.request.uri.path eq "/login"', 'ratelimit': limit}]))
assert got(limits.rules[0]).ratelimit.requests_per_period == 100, limits
limited = got(limits.rules[0]).id
slower = got(rules.edit(limited, ruleset_id=limits.id, zone_id=zone.id, action='block',
                        expression='true', ratelimit={**limit, 'requests_per_period': 10}))
assert got(slower.rules[0]).ratelimit.requests_per_period == 10, slower
for wrong in ({**limit, 'period': 5}, {**limit, 'characteristics': ['ip.scr']}, {**limit, 'score_per_period': 1}):
    refused(400, rules.edit, limited, ruleset_id=limits.id, zone_id=zone.id, action='block',
            expression='true', ratelimit=wrong)
headers = {'x-client': {'operation': 'set', 'expression': 'cf.tls_client_auth.cert_subject_dn'},
           'x-secret': {'operation': 'remove'}}
changed = got(client.rulesets.create(
    zone_id=zone.id, kind='zone', name='headers', phase='http_request_late_transform',
    rules=[{'action': 'rewrite', 'expression': 'true', 'action_parameters': {'headers': headers}}]))
assert changed.phase == 'http_request_late_transform', changed
refused(400, rules.create, changed.id, zone_id=zone.id, action='rewrite', expression='true',
        action_parameters={'headers': {'cf-client-cert-sha256': {'operation': 'set', 'value': 'x'}}})
refused(400, rules.create, changed.id, zone_id=zone.id, action='rewrite', expression='true',
        action_parameters={'uri': {'path': {'value': '/'}}})
redirect = {'from_value': {'target_url': {'expression': 'concat("https://www.sdk.test", http.request.uri.path)'},
                           'status_code': 308, 'preserve_query_string': True}}
route = {'host_header': 'inner.test', 'origin': {'host': 'www.sdk.test', 'port': 8443}, 'sni': {'value': 'inner.test'}}
for other, action, good, wrong in (
        ('http_request_dynamic_redirect', 'redirect', redirect,
         {'from_value': {'target_url': {'value': '//evil.test'}}}),
        ('http_request_origin', 'route', route, {'origin': {'host': 'http://a.test'}})):
    made_rules = got(client.rulesets.phases.update(other, zone_id=zone.id, rules=[
        {'action': action, 'expression': 'http.host eq "sdk.test"', 'action_parameters': good}]))
    assert got(made_rules.rules[0]).action == action, made_rules
    refused(400, rules.create, made_rules.id, zone_id=zone.id, action=action, expression='true',
            action_parameters=wrong)
    client.rulesets.delete(made_rules.id, zone_id=zone.id)

# A `skip` rule, and a list that rules name.
trusted = client.rules.lists.create(account_id=account, kind='ip', name='trusted')
skips = got(client.rulesets.phases.update(phase, zone_id=zone.id, rules=[
    {'action': 'skip', 'expression': 'ip.src in $trusted', 'action_parameters': {'ruleset': 'current'}},
    {'action': 'skip', 'expression': 'ssl', 'action_parameters': {'phases': ['http_ratelimit']}}]))
assert [got(rule).action for rule in skips.rules] == ['skip', 'skip'], skips
refused(400, client.rules.lists.delete, trusted.id, account_id=account)
client.rulesets.delete(skips.id, zone_id=zone.id)
client.rules.lists.delete(trusted.id, account_id=account)
client.rulesets.delete(limits.id, zone_id=zone.id)
client.rulesets.delete(changed.id, zone_id=zone.id)

# Lists.
lists = client.rules.lists
offices = lists.create(account_id=account, kind='ip', name='offices', description='where we sit')
assert offices.kind == 'ip' and offices.name == 'offices', offices
assert [one.id for one in lists.list(account_id=account)] == [offices.id]
assert lists.items.create(
    offices.id, account_id=account, body=[{'ip': '192.0.2.0/24'}, {'ip': '2001:db8::/32'}]).operation_id
items = list(lists.items.list(offices.id, account_id=account))
assert sorted(item.ip for item in items) == ['192.0.2.0/24', '2001:db8::/32'], items
item = lists.items.get(items[0].id, account_id=account, list_id=offices.id)
assert item.ip == items[0].ip, item
done = lists.items.delete(offices.id, account_id=account, items=[{'id': items[0].id}]).operation_id
assert lists.bulk_operations.get(done, account_id=account).status == 'completed'
assert lists.items.update(offices.id, account_id=account, body=[{'ip': '198.51.100.7'}]).operation_id
assert [item.ip for item in lists.items.list(offices.id, account_id=account)] == ['198.51.100.7']
assert lists.update(offices.id, account_id=account, description='new').description == 'new'
assert lists.get(offices.id, account_id=account).description == 'new'
refused(400, lists.items.create, offices.id, account_id=account, body=[{'ip': 'no address'}])
refused(400, lists.create, account_id=account, kind='redirect', name='r')
assert lists.delete(offices.id, account_id=account).id == offices.id
refused(404, lists.get, offices.id, account_id=account)

for kind, body, value in (
        ('hostname', {'hostname': {'url_hostname': '*.Example.com'}}, lambda item: item.hostname.url_hostname),
        ('asn', {'asn': 64496}, lambda item: item.asn)):
    made_list = lists.create(account_id=account, kind=kind, name='of_' + kind)
    lists.items.create(made_list.id, account_id=account, body=[body])
    found = [value(item) for item in lists.items.list(made_list.id, account_id=account)]
    assert found in (['*.example.com'], [64496]), found
    refused(400, lists.items.create, made_list.id, account_id=account, body=[{'ip': '192.0.2.1'}])
    lists.delete(made_list.id, account_id=account)

# What the managed CA is believed for can be cleared.
assert associations.update(zone_id=zone.id, hostnames=[]).hostnames == []
assert associations.get(zone_id=zone.id).hostnames == []

# Pages beyond the end are empty and say how much there is; odd ones are refused.
for page in (2, 3, 10 ** 12):
    beyond = certificates.list(zone_id=zone.id, page=page, per_page=50)
    assert beyond.result == [] and beyond.result_info.total_count == 7, beyond
beyond = certificates.list(zone_id=zone.id, limit=5, offset=100)
assert beyond.result == [], beyond
huge = certificates.list(zone_id=zone.id, per_page=10 ** 9)
assert len(huge.result) == 7 and huge.result_info.per_page <= 1000, huge
for odd in ({'page': 0}, {'page': -1}, {'per_page': 0}, {'per_page': -5}, {'limit': 0}, {'offset': -1}, {'page': 1.5}):
    refused(400, certificates.list, zone_id=zone.id, **odd)

# Credentials.
refused(401, Cloudflare(base_url=base_url, api_token='wrong', max_retries=0).zones.get, zone_id=zone.id)
email = Cloudflare(base_url=base_url, api_email='me@sdk.test', api_key=token, max_retries=0)
assert email.zones.get(zone_id=zone.id).id == zone.id

assert client.zones.delete(zone_id=zone.id).id == zone.id
refused(404, client.zones.get, zone_id=zone.id)

# Every call of the resources that Postern has.
lists_path = '/accounts/{id}/rules/lists'
expected = {
    'GET /zones', 'POST /zones', 'GET /zones/{id}', 'PATCH /zones/{id}', 'DELETE /zones/{id}',
    'GET /user/tokens/verify', 'GET /accounts/{id}', 'GET /accounts/{id}/audit_logs',
    'GET /zones/{id}/settings/{setting}', 'PATCH /zones/{id}/settings/{setting}',
    'GET /zones/{id}/managed_headers', 'PATCH /zones/{id}/managed_headers',
    'GET /zones/{id}/access/certificates/settings', 'PUT /zones/{id}/access/certificates/settings',
    'GET /zones/{id}/dns_records', 'POST /zones/{id}/dns_records', 'GET /zones/{id}/dns_records/{id}',
    'PUT /zones/{id}/dns_records/{id}', 'PATCH /zones/{id}/dns_records/{id}',
    'DELETE /zones/{id}/dns_records/{id}',
    'POST /zones/{id}/client_certificates', 'GET /zones/{id}/client_certificates',
    'GET /zones/{id}/client_certificates/{id}', 'DELETE /zones/{id}/client_certificates/{id}',
    'PATCH /zones/{id}/client_certificates/{id}',
    'GET /zones/{id}/certificate_authorities/hostname_associations',
    'PUT /zones/{id}/certificate_authorities/hostname_associations',
    'POST /accounts/{id}/mtls_certificates', 'GET /accounts/{id}/mtls_certificates',
    'GET /accounts/{id}/mtls_certificates/{id}', 'DELETE /accounts/{id}/mtls_certificates/{id}',
    'GET /accounts/{id}/mtls_certificates/{id}/associations',
    'POST /zones/{id}/custom_certificates', 'GET /zones/{id}/custom_certificates',
    'GET /zones/{id}/custom_certificates/{id}', 'PATCH /zones/{id}/custom_certificates/{id}',
    'DELETE /zones/{id}/custom_certificates/{id}',
    'GET /zones/{id}/rulesets', 'POST /zones/{id}/rulesets', 'GET /zones/{id}/rulesets/{id}',
    'PUT /zones/{id}/rulesets/{id}', 'DELETE /zones/{id}/rulesets/{id}',
    'GET /zones/{id}/rulesets/phases/{phase}/entrypoint', 'PUT /zones/{id}/rulesets/phases/{phase}/entrypoint',
    'GET /zones/{id}/rulesets/phases/{phase}/entrypoint/versions',
    'GET /zones/{id}/rulesets/phases/{phase}/entrypoint/versions/{id}',
    'POST /zones/{id}/rulesets/{id}/rules', 'PATCH /zones/{id}/rulesets/{id}/rules/{id}',
    'DELETE /zones/{id}/rulesets/{id}/rules/{id}',
    'GET /zones/{id}/rulesets/{id}/versions', 'GET /zones/{id}/rulesets/{id}/versions/{id}',
    'GET ' + lists_path, 'POST ' + lists_path, 'GET ' + lists_path + '/{id}', 'PUT ' + lists_path + '/{id}',
    'DELETE ' + lists_path + '/{id}', 'GET ' + lists_path + '/{id}/items', 'POST ' + lists_path + '/{id}/items',
    'PUT ' + lists_path + '/{id}/items', 'DELETE ' + lists_path + '/{id}/items',
    'GET ' + lists_path + '/{id}/items/{id}', 'GET ' + lists_path + '/bulk_operations/{id}',
}
assert expected <= made, expected - made
assert made <= expected | {'GET /accounts', 'GET /zones/no-id'}, made - expected
print('all good')
