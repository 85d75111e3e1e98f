// What the fields of the language say, in a sentence each, for the editor and the builder. The browser
// test asks that there is one for every field that the gateway knows.

const CERT = "cf.tls_client_auth.cert_";
const OURS = "postern.tls_client_auth.";

const SAID: Record<string, string> = {
    "http.host": "The host's name in small letters, without a port: api.example.com",
    "http.request.method": "GET, POST and so on, as the client wrote it",
    "http.request.version": "HTTP/1.0, HTTP/1.1 or HTTP/2",
    "http.request.full_uri": "https://, host, path and query",
    "http.request.uri": "Path and query: /articles?page=2",
    "http.request.uri.path": "The path without the query, made plain: that is what the origin gets",
    "http.request.uri.path.extension": "What is behind the last dot of the path, in small letters: jpg",
    "http.request.uri.query": "The query without its ?: page=2&sort=name",
    "http.request.uri.args": "The query's arguments: of each name all values",
    "http.request.uri.args.names": "The names of the query's arguments",
    "http.request.uri.args.values": "The values of the query's arguments",
    "http.request.timestamp.sec": "When the request came, in seconds since 1970",
    "http.request.timestamp.msec": "Of that time, the milliseconds within the second",
    "http.request.headers": "The headers: of each name, in small letters, all values",
    "http.request.headers.names": "The names of the headers, in small letters",
    "http.request.headers.values": "The values of the headers",
    "http.request.headers.truncated": "Whether there were more headers than are looked at",
    "http.request.cookies": "The cookies: of each name all values",
    "http.request.accepted_languages": "The languages of Accept-Language, the most wanted first",
    "http.user_agent": "What the client calls itself: User-Agent",
    "http.referer": "The page that led here, as the client says: Referer",
    "http.cookie": "The whole Cookie header",
    "http.x_forwarded_for": "The whole X-Forwarded-For header, which anybody can write",
    "cf.ray_id": "The request's own id",
    "ip.src": "The client's address",
    "ip.src.asnum": "The number of the network that the client's address is of. Needs a GeoIP database",
    "ip.src.country": "The client's country in two capitals: DE. Needs a GeoIP database",
    "ip.src.continent": "The client's continent: AF, AN, AS, EU, NA, OC, SA. Needs a GeoIP database",
    "ip.src.region": "The name of the client's region. Needs a GeoIP database",
    "ip.src.region_code": "The code of the client's region. Needs a GeoIP database",
    "ip.src.city": "The client's city. Needs a GeoIP database",
    "ip.src.is_in_european_union": "Whether the client's country is in the EU. Needs a GeoIP database",
    "ip.src.subdivision_1_iso_code": "The client's state or land: DE-BY. Needs a GeoIP database",
    "ip.src.subdivision_2_iso_code": "The part of it that the client is in. Needs a GeoIP database",
    "ssl": "Whether the request came over TLS: always",
    "cf.tls_version": "TLSv1.2 or TLSv1.3",
    "cf.tls_cipher": "The cipher suite that was agreed on",
    "cf.tls_client_hello_length": "How many bytes the ClientHello had",
    "cf.tls_client_random": "The client's random bytes of the handshake, in base64",
    "cf.tls_client_extensions_sha1": "A digest of the extensions of the ClientHello, in base64",
    "cf.tls_client_extensions_sha1_le": "The same with the numbers in the other order of bytes",
    "cf.tls_ciphers_sha1": "A digest of the cipher suites that the client offers, in base64",
    "cf.bot_management.ja3_hash": "The JA3 fingerprint of the client's TLS library",
    "cf.bot_management.ja4": "The JA4 fingerprint of the client's TLS library",
    "cf.edge.server_ip": "The address of the gateway that the client has connected to",
    "cf.edge.server_port": "The port that the client has connected to",
    "cf.edge.client_tcp": "Whether the client came over TCP: always",
    "cf.timings.client_tcp_rtt_msec": "The round trip to the client in milliseconds",
    "cf.timings.client_quic_rtt_msec": "The round trip over QUIC, which is not served: 0",
    [`${CERT}presented`]: "Whether the client has shown a certificate",
    [`${CERT}verified`]: "Whether its certificate is of a CA that the host believes, and in time. Revoked ones are too",
    [`${CERT}revoked`]: "Whether its certificate verifies and was revoked",
    [`${CERT}issuer_dn`]: "The name of the certificate's issuer (RFC 2253): CN=Example CA,O=Example",
    [`${CERT}subject_dn`]: "The name in the certificate (RFC 2253): CN=sensor,O=Example",
    [`${CERT}issuer_dn_rfc2253`]: "The same as cert_issuer_dn",
    [`${CERT}subject_dn_rfc2253`]: "The same as cert_subject_dn",
    [`${CERT}issuer_dn_legacy`]: "The issuer's name in OpenSSL's old form: /O=Example/CN=Example CA",
    [`${CERT}subject_dn_legacy`]: "The certificate's name in OpenSSL's old form: /O=Example/CN=sensor",
    [`${CERT}serial`]: "The certificate's serial number in hex, capitals",
    [`${CERT}issuer_serial`]: "The serial number of the issuer's certificate in hex",
    [`${CERT}fingerprint_sha256`]: "SHA-256 of the whole certificate, in small hex",
    [`${CERT}fingerprint_sha1`]: "SHA-1 of the whole certificate, in small hex",
    [`${CERT}not_before`]: "From when the certificate is valid, as a text",
    [`${CERT}not_after`]: "Until when the certificate is valid, as a text",
    [`${CERT}ski`]: "The certificate's subject key identifier in hex",
    [`${CERT}issuer_ski`]: "The issuer's subject key identifier in hex",
    [`${CERT}rfc9440`]: "The certificate as RFC 9440 writes it: base64 between colons",
    [`${CERT}rfc9440_too_large`]: "Whether it is too large for that",
    [`${CERT}chain_rfc9440`]: "The chain as RFC 9440 writes it",
    [`${CERT}chain_rfc9440_too_large`]: "Whether it is too large for that",
    [`${OURS}cert_san.dns`]: "The DNS names in the certificate",
    [`${OURS}cert_san.uri`]: "The URIs in the certificate, such as spiffe://example.com/sensor",
    [`${OURS}cert_san.email`]: "The mail addresses in the certificate",
    [`${OURS}cert_san.ip`]: "The IP addresses in the certificate",
    [`${OURS}cert_eku`]: "What the certificate's key may be used for, as numbers with dots",
    [`${OURS}cert_not_before_sec`]: "From when it is valid, in seconds since 1970",
    [`${OURS}cert_not_after_sec`]: "Until when it is valid, in seconds since 1970",
    [`${OURS}reason`]: "Why the certificate is no good, in one word: expired, unknown_ca and others",
    [`${OURS}ca_id`]: "The id of the CA that it is of",
};

/** Other names of the same. */
const ALSO: [string, string, string][] = [
    ["ip.geoip.", "ip.src.", ""],
    ["raw.", "", ", as the client sent it: the origin may get another"],
];

export function aboutField(name: string): string | null {
    const said = SAID[name];
    if (said !== undefined) return said;
    for (const [begins, instead, more] of ALSO) {
        const other = name.startsWith(begins) ? SAID[instead + name.slice(begins.length)] : undefined;
        if (other !== undefined) return `${other.replace(/, made plain:.*$/, "")}${more}`;
    }
    return null;
}
