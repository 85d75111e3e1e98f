"""The admin API's OpenAPI document: a second opinion on it, and on answers that it describes."""

import json
import sys
import urllib.error
import urllib.request

from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

base_url, token = sys.argv[1:3]


def fetch(path, authorization='Bearer ' + token):
    request = urllib.request.Request(base_url + path)
    if authorization:
        request.add_header('Authorization', authorization)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


# Read like everything else: with a token of any scope, and not without.
assert fetch('/client/v4/openapi.json', None)[0] == 401
assert fetch('/client/v4/openapi.json', 'Bearer postern_none')[0] == 401
status, headers, text = fetch('/client/v4/openapi.json')
assert status == 200 and headers['content-type'] == 'application/json', (status, headers)
document = json.loads(text)
assert document['openapi'].startswith('3.1.'), document['openapi']
judge = OpenAPIV31SpecValidator(document)
wrong = [(list(error.path), error.message) for error in judge.iter_errors()]
assert not wrong, wrong

# Answers of everything that is read without naming something.
looked_at = 0
for path, item in document['paths'].items():
    if '{' in path or 'get' not in item:
        continue
    status, headers, text = fetch(path)
    responses = item['get']['responses']
    response = responses.get(str(status)) or responses.get(f'{status // 100}XX')
    assert response, (path, status)
    if '$ref' in response:
        response = document['components']['responses'][response['$ref'].rsplit('/', 1)[1]]
    kind = headers['content-type']
    content = response['content']
    assert kind in content, (path, kind, list(content))
    if kind == 'application/json':
        schema = dict(content[kind]['schema'], components=document['components'])
        checker = OAS31Validator(schema, format_checker=oas31_format_checker)
        wrong = [(list(error.path), error.message) for error in checker.iter_errors(json.loads(text))]
        assert not wrong, (path, wrong)
    looked_at += 1
assert looked_at >= 15, looked_at
print('all good')
