// What a value of a field looks like: proposals while one types, and an example in the empty input.

import type { Known } from "./inputs";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/** ISO 3166-1, in two letters each. */
const COUNTRIES =
    "ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCNCO" +
    "CRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHMHNHR" +
    "HTHUIDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMN" +
    "MOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASBSCSD" +
    "SESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVGVIVNVUWFWSYE" +
    "YTZAZMZW";

const CONTINENTS: Known[] = [
    ["AF", "Africa"],
    ["AN", "Antarctica"],
    ["AS", "Asia"],
    ["EU", "Europe"],
    ["NA", "North America"],
    ["OC", "Oceania"],
    ["SA", "South America"],
];

function countries(): Known[] {
    const names = new Intl.DisplayNames(undefined, { type: "region" });
    const codes = COUNTRIES.match(/../g) ?? [];
    return codes.map((code) => [code, names.of(code) ?? code] as const);
}

/** What is proposed for a field; hosts are those of the zone. */
export function proposals(field: string, hosts: string[]): Known[] | undefined {
    switch (field.replace(/^raw\./, "").replace(/^ip\.geoip\./, "ip.src.")) {
        case "http.host":
            return hosts;
        case "http.request.method":
            return METHODS;
        case "http.request.version":
            return ["HTTP/1.0", "HTTP/1.1", "HTTP/2"];
        case "ip.src.country":
            return countries();
        case "ip.src.continent":
            return CONTINENTS;
        case "cf.tls_version":
            return ["TLSv1.2", "TLSv1.3"];
        default:
            return undefined;
    }
}

/** Examples by how a field's name ends, the longer ends first. */
const EXAMPLES: [string, string][] = [
    ["uri.path.extension", "jpg"],
    ["uri.path", "/admin"],
    ["uri.query", "page=2"],
    ["full_uri", "https://api.example.com/admin"],
    ["uri", "/admin?page=2"],
    ["http.host", "api.example.com"],
    ["user_agent", "curl/8.5.0"],
    ["ip.src", "192.0.2.0/24"],
    ["server_ip", "192.0.2.1"],
    ["asnum", "64500"],
    ["country", "DE"],
    ["fingerprint_sha256", "64 digits in small hex"],
    ["fingerprint_sha1", "40 digits in small hex"],
    ["serial", "0A1B2C"],
    ["subject_dn_legacy", "/O=Example/CN=sensor"],
    ["issuer_dn_legacy", "/O=Example/CN=Example CA"],
    ["subject_dn", "CN=sensor,O=Example"],
    ["subject_dn_rfc2253", "CN=sensor,O=Example"],
    ["issuer_dn", "CN=Example CA,O=Example"],
    ["issuer_dn_rfc2253", "CN=Example CA,O=Example"],
    ["cert_san.uri", "spiffe://example.com/sensor"],
    ["cert_san.dns", "sensor.example.com"],
];

/** An example of what is compared with a field by an operator. */
export function example(field: string, operator: string): string | undefined {
    if (operator === "matches") return "^/v[12]/";
    if (operator === "wildcard" || operator === "strict_wildcard") return "/articles/*";
    return EXAMPLES.find(([end]) => field.endsWith(end))?.[1];
}
