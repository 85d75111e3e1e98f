//! What each word of the logs means, and how to mend it.
//!
//! Owns the texts. The matches are exhaustive: a new reason without a text does not compile. They are
//! Markdown, since `docs/troubleshooting.md` has them too; a test holds both together.

use datapath::connection::Stop;
use tls::Refusal;
use vocabulary::request_error::RequestError;
use vocabulary::verdict::Reason;

/// What it means, and how to mend it.
pub(super) type Text = (&'static str, &'static str);

/// Of a client certificate.
#[rustfmt::skip]
pub(super) fn reason(reason: Reason) -> Text {
    match reason {
        Reason::NotPresented => ("The host does not ask, or the client sent no certificate. Alert `certificate_required`", "Configure the client with its certificate and key. Browsers: import the `.p12`, close the old connection. Check that the host's mode is not `off`"),
        Reason::Verified => ("The chain verifies and nothing is revoked", "Nothing"),
        Reason::Revoked => ("The chain verifies; the leaf or one of its issuers is revoked. Alert `certificate_revoked`", "`postern cert list --zone ZONE --status revoked`; if it was a mistake, `postern cert restore`. For an uploaded CA look at its list, `postern crl show CA`, and at `postern deny list`"),
        Reason::Expired => ("A certificate of the chain has passed its notAfter. Alert `certificate_expired`", "Issue a new one: `postern cert create` or `cert sign`. If it should still be valid, check the clocks"),
        Reason::NotYetValid => ("A certificate's notBefore has not come. Alert `certificate_expired`", "Check the clocks of the CA and of the gateway; wait, or issue anew"),
        Reason::UnknownCa => ("No chain to a CA that the host believes. Alert `unknown_ca`", "Upload the CA (`postern ca upload`) and associate it with the host (`postern ca associate`), or let the client send its intermediates"),
        Reason::SelfSigned => ("The leaf signed itself. Alert `unknown_ca`", "Use a certificate of a CA that the host believes"),
        Reason::WrongEku => ("extendedKeyUsage is there without clientAuth. Alert `unsupported_certificate`", "Issue with `extendedKeyUsage=clientAuth`; a server certificate will not do"),
        Reason::IssuerEku => ("An issuer's extendedKeyUsage is there without clientAuth, the anchor's own included. Alert `unsupported_certificate`", "Issue from a CA that may certify clients, or renew that CA's certificate with `clientAuth` or without the extension"),
        Reason::KeyUsage => ("keyUsage forbids what the certificate is used for. Alert `unsupported_certificate`", "Issue with `digitalSignature`; issuers need `keyCertSign`"),
        Reason::UnsupportedKey => ("The key is of a kind, or signs with an algorithm, that is not asked for (SHA-1, P-521, Ed448, DSA). Alert `unsupported_certificate`", "Issue with ECDSA P-256 or P-384, Ed25519, or RSA. Most clients with such a key send no certificate at all: `not_presented`"),
        Reason::NameConstraint => ("A name lies outside its issuer's name constraints. Alert `bad_certificate`", "Issue for a permitted name, or from another CA"),
        Reason::PathLength => ("More issuers than a path length allows, the anchor's own included, or more than five. Alert `bad_certificate`", "Issue from a CA nearer to the anchor, or associate the intermediate"),
        Reason::NotACa => ("An issuer is not a CA. Alert `bad_certificate`", "Issuers need `basicConstraints CA:TRUE`"),
        Reason::WeakKey => ("A key too small or too large (RSA: 2,048 to 4,096 bits), or a signature over SHA-1 or MD5. Alert `bad_certificate`", "Issue with an ECDSA or larger RSA key, signed over SHA-256 or better"),
        Reason::BadSignature => ("A signature is wrong. Alert `bad_certificate`", "The certificate is damaged, or the key does not belong to it; install both again"),
        Reason::UnknownCriticalExtension => ("A critical extension that is not understood. Alert `bad_certificate`", "Issue without it, or not critical"),
        Reason::Policy => ("A certificate policy is required that the path does not have. Alert `bad_certificate`", "Issue with the policy that policyConstraints of its CAs ask for"),
        Reason::Malformed => ("The bytes are no certificate. Alert `bad_certificate`", "Check the file"),
        Reason::ChainTooLarge => ("The chain has more bytes than `trust.chain_bytes`", "Send no more certificates than the path needs, or raise the key"),
        Reason::BadSerial => ("A serial number of more than 64 bytes. Alert `bad_certificate`", "Issue with a serial number of at most 20 bytes (RFC 5280 §4.1.2.2)"),
        Reason::CrlMissing => ("The CA's policy is `hard`, and no list speaks for the certificate; `client_cert.about` and `detail` name the issuer whose list is wanting. Alert `bad_certificate`", "`postern crl put CA FILE` (with the certificate of that issuer in the file when it is a CA below the uploaded one), or check `--watch` and `--url` with `postern crl show CA`"),
        Reason::CrlExpired => ("The same, and the list's nextUpdate has passed", "Publish a new list; `postern crl fetch CA`; `postern crl show CA` says why fetching failed"),
        Reason::CrlNotYetValid => ("The same, and the list's thisUpdate has not come", "Check the clocks of the CA and of the gateway"),
        Reason::OcspMissing => ("The policy is `hard`, and no answer came in time", "Look at `postern ocsp show CA`; the responder must answer within 2.5 s"),
        Reason::OcspUnreachable => ("The responder cannot be reached, or gives no answer", "Check the URL, name resolution, firewall; it is asked again after 10 s"),
        Reason::OcspInvalid => ("Its answer is not to be believed: wrong certificate, wrong signer, wrong nonce", "Check that the issuer certified the responder (id-kp-OCSPSigning); `--nonce false` if it sends none"),
        Reason::OcspExpired => ("Its answer's nextUpdate has passed", "The responder serves old answers; mend it there, or check the clocks"),
        Reason::OcspUnknown => ("The responder does not know the certificate", "Tell the responder's CA database about it"),
        Reason::Other => ("BoringSSL reports something else, or failed", "`detail` in the log line; please report it"),
    }
}

/// Of a handshake that was refused for something else than the client's certificate.
#[rustfmt::skip]
pub(super) fn refusal(refusal: Refusal) -> Text {
    match refusal {
        Refusal::UnknownHost => ("No host for this SNI. Alert `unrecognized_name`", "`postern host add`; check spelling and wildcard: `*.example.com` covers one label"),
        Refusal::NoSni => ("No SNI and no default host. Alert `missing_extension`", "Send the name (`openssl s_client -servername`, `curl --resolve`), or set `host.default`"),
        Refusal::PlainHttp => ("Plain HTTP on the TLS port; the client gets a 400 in clear", "Use `https://`"),
        Refusal::ProxyProtocol => ("A PROXY protocol header stands in front of the ClientHello, from an address that is not in `proxy.protocol_from`", "Name the balancer in `proxy.protocol_from`; or let it pass TCP through unchanged: HAProxy without `send-proxy`, an AWS NLB without `proxy_protocol_v2`"),
        Refusal::NotTls => ("The first bytes are no TLS: another protocol on this port, or a port scan", "Look at the client; `CONNECT` of a forward proxy does not belong here either"),
        Refusal::PeerAlert => ("The client sent an alert: it does not want us", "Most often it does not trust the server certificate: `postern doctor HOST`, and the alert in `detail`"),
        Refusal::Closed => ("The client went away during the handshake", "Port scans and TCP health checks look like this; otherwise look at the client's log"),
        Refusal::Version => ("No TLS version in common. Alert `protocol_version`", "TLS 1.2 and 1.3 are served, unless `tls.min_version` or the host's own asks for 1.3: update the client, or lower that"),
        Refusal::Group => ("No key exchange group in common. Alert `handshake_failure`", "Add the client's group to `tls.groups`; clients of CNSA want `P-384`"),
        Refusal::Cipher => ("No cipher suite in common, for the key of the host's certificate. Alert `handshake_failure`", "The client has no suite with forward secrecy and AEAD: update it. Or it knows one kind of key only: give the host an ECDSA and an RSA certificate"),
        Refusal::SignatureAlgorithm => ("The client knows no algorithm that the host's certificate signs with. Alert `handshake_failure`", "Give the host a certificate with an ECDSA P-256 or an RSA key; SHA-1 is not used"),
        Refusal::CaUnsupported => ("No certificate came, and the client knows no algorithm that the host's CAs sign with: it could not have sent one. Alert `certificate_required`", "Issue from a CA with an ECDSA P-256 or RSA key (`postern ca roll --ca-key`), or update the client: Java before 15 and browsers have no Ed25519"),
        Refusal::Protocol => ("Something against the TLS protocol, or no TLS at all", "`detail` says what BoringSSL met"),
        Refusal::ClientCertificate(found) => reason(found),
    }
}

/// Of a connection that ended.
#[rustfmt::skip]
pub(super) fn stop(stop: Stop) -> Text {
    match stop {
        Stop::Closed => ("The client closed, or the gateway did after its last request", "Nothing"),
        Stop::Handshake(_) => ("The handshake was refused", "See [Handshakes](#handshakes)"),
        Stop::HandshakeTimeout => ("The handshake was not finished within `timeout.handshake`", "See [Handshakes](#handshakes)"),
        Stop::HeaderTimeout => ("A request head was not complete within `timeout.header`", "Slow or hostile clients; raise the key only for known slow ones"),
        Stop::IdleTimeout => ("No request within `timeout.idle`", "Normal; let clients connect again, or raise the key"),
        Stop::SlowReader => ("The client took none of our bytes for `timeout.idle`, or fell so far behind `limit.body_rate`", "The client hangs, or its network is gone"),
        Stop::Flood => ("Over HTTP/2 the client sent more frames that carry nothing, or took more requests back, than `limit.h2_control_frames` allows. GOAWAY with ENHANCE_YOUR_CALM", "The line with `\"kind\":\"connection\"` has the address. Hostile, unless it is a client of yours: raise the key"),
        Stop::BadHttp => ("What came is not HTTP", "Look at the client; another protocol on this port"),
        Stop::Broken => ("The socket broke, or a TLS record was bad", "Network trouble, or a middlebox"),
        Stop::Drained => ("The process stops, or was replaced", "Normal during a stop, an upgrade and a reload that takes a new process"),
        Stop::CertificateLost => ("The client's certificate is no longer good: revoked, expired, or its CA removed", "The `certificate` line has the reason; see the first table"),
        Stop::Tunnel => ("The connection became a WebSocket, and it ended", "Normal; the request line's `error` says if it broke"),
        Stop::ClientShare => ("Closed at once: clients of its prefix (an IPv4 address, an IPv6 /64) have as many connections as `limit.client_connections` allows, or open files run short and they have many", "The gateway's log names the prefix. Raise the key; name balancers and proxies of your own in `limit.client_exempt`"),
        Stop::Shed => ("Open files or memory ran short, and clients of its prefix held the most: they give back half", "The gateway's log names the prefix. Raise `LimitNOFILE` or the memory, or lower `limit.client_connections`, `limit.client_streams`"),
        Stop::AcmeChallenge => ("An ACME server has checked a name by TLS-ALPN-01: it was shown the certificate of its challenge, and nothing else was done", "Nothing is amiss"),
        Stop::ProxyHeader => ("It came from `proxy.protocol_from` and did not begin with a PROXY protocol header that is understood, or not within `timeout.handshake`; the log line's `detail` says what was amiss", "Let the balancer send one (HAProxy: `send-proxy-v2` behind `server`; nginx: `proxy_protocol on` of a stream), its health checks too (`check-send-proxy`); or take its address out of `proxy.protocol_from`"),
        Stop::TooMany => ("`limit.connections` was reached", "`postern_connections_refused_total`; raise the key and `LimitNOFILE`, or add a machine"),
    }
}

/// Of a request that was not served as its client meant it: the status, what it means, how to mend
/// it. A word may have several.
#[rustfmt::skip]
pub(super) fn answer(error: RequestError) -> &'static [(&'static str, &'static str, &'static str)] {
    match error {
        RequestError::Method => &[
            ("405", "CONNECT or TRACE", "Neither is served; CONNECT for a WebSocket over HTTP/2 is"),
            ("501", "CONNECT for another protocol than WebSocket (HTTP/2, RFC 8441)", "Of these protocols only WebSocket is served"),
        ],
        RequestError::Authority => &[
            ("400", "The request names no host, several, different ones in Host and target, or a malformed one", "Mend the client's `Host`"),
        ],
        RequestError::Misdirected => &[
            ("421", "The request is for another host than the connection's, and their trust policies differ, or the connection's host is gone or asks for more now", "Clients open a new connection by themselves; if they do not, give hosts that share connections the same mode and CAs"),
        ],
        RequestError::ClientAddress => &[
            ("400", "The request came from `proxy.trusted`, and `proxy.header` does not say who the client is: an address in it is malformed, `unknown` or hidden before one that is not a proxy's, or more than 32 proxies are named", "Let the proxy set the header itself (nginx: `proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for`); look whether `proxy.header` is the one it sets"),
        ],
        RequestError::Headers => &[
            ("400", "A header's value begins or ends with white space, or Content-Length is not one number (HTTP/2)", "Mend the client"),
            ("431", "More headers than `limit.header_count`, a larger head than `limit.header_bytes` (HTTP/2), or such trailers", "Send less, or raise the key"),
            ("501", "A transfer coding other than `chunked`, once", "Mend the client"),
        ],
        RequestError::Path => &[
            ("400", "A broken percent escape, an encoded NUL, an encoded slash or a backslash, a segment that is empty, `.` or `..` before its parameters (`/..;x/`), a path that does not start with a slash, or `*` without OPTIONS", "Mend the URL; such paths are never forwarded, because origin and rules could read them differently"),
        ],
        RequestError::Rules => &[
            ("431", "The head is too large for the rules of the host to be evaluated within their bound", "Send less, or simplify the rules: [what a request may cost](rules.md#what-a-request-may-cost)"),
        ],
        RequestError::RequestBody => &[
            ("413", "The request's body is larger than `limit.request_body`, or than what its host allows", "Send less, or `postern host set HOST --request-body SIZE`, or raise the key"),
            ("as sent", "The same, and the origin had answered before so much of the body had come", "The same"),
        ],
        RequestError::Redirect => &[
            ("500", "A redirect matched, and its expression made no target for this request; `detail` says why", "Mend the expression of the rule that the record names: [redirects](rules.md#redirects)"),
        ],
        RequestError::ClientShare => &[
            ("429", "The clients of this prefix (an IPv4 address, an IPv6 /64) have more requests open over HTTP/2 than `limit.client_streams`, or keep more connections to origins busy than `limit.client_origin_connections`", "Raise the key; name balancers and proxies of your own in `limit.client_exempt`"),
            ("503", "Open files run short, and this client has many of them", "Raise `LimitNOFILE`; lower `limit.client_connections`, `limit.client_origin_connections`"),
        ],
        RequestError::ClientGone => &[
            ("499", "The client went away before there was an answer", "Client timeouts; compare with `seconds`"),
            ("400", "The client broke its request off while it was being forwarded", "The same"),
            ("as sent", "The client went away before the end of its answer, or fell behind `limit.body_rate` by `timeout.idle` in taking it", "Compare `bytes_sent`"),
        ],
        RequestError::ClientStalled => &[
            ("408", "The client stopped in the middle of its request's body, or fell behind `limit.body_rate` by `timeout.origin_response`", "The client hangs, or its network is gone"),
        ],
        RequestError::OriginResolve => &[
            ("502", "The origin's name has no address, or no name server has answered yet", "Check DNS (`detail` says which, `postern_origin_name_failing` for how long), or `postern host set HOST --origin URL`"),
        ],
        RequestError::OriginOutOfReach => &[
            ("502", "A token of a zone set this origin, and its name resolves to this machine, a link-local address or a metadata service", "An administrator sets it (`postern host set HOST --origin URL`), or `control.private_origins = allow`"),
        ],
        RequestError::OriginRefused => &[
            ("502", "The origin refuses connections", "Start it; check the port"),
        ],
        RequestError::OriginConnect => &[
            ("502", "No address of the origin took the connection", "Check routes and firewalls; `detail` names the address"),
        ],
        RequestError::OriginConnectTimeout => &[
            ("504", "Not connected within `timeout.origin_connect`, or the origin's own `timeouts`, TLS included", "Is it up, is it overloaded?"),
        ],
        RequestError::OriginTls => &[
            ("502", "TLS to the origin failed, most often its certificate", "`postern doctor HOST`; `--origin-ca`, `--origin-server-name`"),
        ],
        RequestError::OriginProtocol => &[
            ("502", "It agreed on another protocol than was offered, answered 101 unasked, or did not change to the one that was asked for", "`--origin-protocol auto`, `http1` or `http2`; WebSocket needs an origin that changes to it, over HTTP/2 with RFC 8441"),
        ],
        RequestError::OriginResponseTimeout => &[
            ("504", "No response head within `timeout.origin_response`, or the origin's own `timeouts`; a request that may be repeated was, if there was another address and time", "Slow origin; raise the key, or `--origin-timeouts`, if that is normal"),
        ],
        RequestError::OriginFull => &[
            ("503", "The origin has as many requests or connections at once as its `limits` allow, and as many wait as may, none of whose clients has more waiting than this one", "Slow origin, or a small limit: `postern origin list`, [limits](origins.md#limits); the answer has `Retry-After`"),
        ],
        RequestError::OriginQueueTimeout => &[
            ("503", "The request waited for its turn at the origin for as long as `limits` allows", "The same"),
        ],
        RequestError::OriginResponse => &[
            ("502", "It sent no HTTP, several lengths of one answer, a head larger than `limit.header_bytes` or `limit.header_count` allows, or closed before the head was complete", "The origin's log. In TLS 1.3 one that wants another certificate of us, or any, says so only then (`detail` has its alert): `--origin-client-cert`. Its keep-alive time should be longer than `timeout.origin_idle`"),
        ],
        RequestError::OriginStalled => &[
            ("as sent", "It stopped in the middle of its response for `timeout.origin_body`; the response is cut", "Slow origin, or event streams without heartbeats: raise the key"),
        ],
        RequestError::ResponseCut => &[
            ("as sent", "The origin broke its response off, closed TLS without a close_notify behind one that has no length, or ended it with trailers larger than `limit.header_bytes` or `limit.header_count` allows; `detail` says which", "The origin's log; compare `bytes_sent`; have the origin send `Content-Length` or chunks"),
        ],
        RequestError::BadHttp => &[
            ("400, 413, 414, 431, 501, 505", "The head is not HTTP/1.1 or 1.0, leaves open where its body ends, has no `Host` or several, its target is too long, or it is larger than `limit.header_bytes` or has more headers than `limit.header_count` (HTTP/1.1)", "`detail` says what; look at the client, or raise the key"),
        ],
        RequestError::IdleTimeout => &[
            ("101", "A tunnel was silent for `timeout.idle`", "Send pings more often"),
        ],
        RequestError::TunnelBroken => &[
            ("101", "A tunnel's socket broke", "Network trouble, or one side crashed"),
        ],
        RequestError::CertificateLost => &[
            ("as sent", "The client's certificate is no longer good, and its tunnel or its answer was cut", "See the first table"),
        ],
    }
}
