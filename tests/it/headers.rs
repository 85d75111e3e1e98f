//! What the origin and the client are told, and what neither can make the other believe.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use serde_json::json;
use tests::client::body;
use tests::gateway::ZONE;
use tests::{Origin, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origin_is_told_who_asks() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("forward.forwarded", "on")
        .host("api.example.test", "request", &origin.url())
        .start();
    let device = gateway.authority(ZONE).client("device");
    let client = gateway.client("api.example.test").identity(&device);
    let mut http1 = client.http1().await.unwrap();
    let request = Request::get("/x?a=1&b=%2F")
        .header("host", "api.example.test")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-proto", "http")
        .header("x-forwarded-host", "evil.test")
        .header("forwarded", "for=6.6.6.6")
        .header("x-request-id", "mine")
        .header("x_forwarded_for", "6.6.6.6")
        .header("x-forwarded_host", "evil.test")
        .header("x_request_id", "mine")
        .header("via", "1.0 fred")
        .header("cookie", "a=1")
        .header("x-custom", "one")
        .header("x-custom", "two");
    let answer = http1.send(request.body(body("")).unwrap()).await.unwrap();
    let seen = answer.json();
    let headers = &seen["headers"];
    assert_eq!(seen["target"], "/x?a=1&b=%2F");
    for (name, expected) in [
        ("x-forwarded-for", json!(["127.0.0.1"])),
        ("x-forwarded-proto", json!(["https"])),
        ("x-forwarded-host", json!(["api.example.test"])),
        (
            "forwarded",
            json!(["for=127.0.0.1;host=\"api.example.test\";proto=https"]),
        ),
        ("via", json!(["1.0 fred", "1.1 postern"])),
        ("x-request-id", json!([answer.header("x-request-id")])),
        ("host", json!(["api.example.test"])),
        ("cookie", json!(["a=1"])),
        ("x-custom", json!(["one", "two"])),
        ("cf-cert-verified", json!(["true"])),
    ] {
        assert_eq!(headers[name], expected, "{name}");
    }
    let disguised = headers.as_object().unwrap().keys();
    let disguised: Vec<_> = disguised.filter(|name| name.contains('_')).collect();
    assert!(disguised.is_empty(), "{disguised:?}");
    assert_eq!(answer.header("x-request-id").len(), 32);
    let over_http2 = client
        .http2()
        .await
        .unwrap()
        .get("/y")
        .await
        .unwrap()
        .json();
    assert_eq!(over_http2["headers"]["via"], json!(["2 postern"]));
    assert_eq!(over_http2["headers"]["host"], json!(["api.example.test"]));
    drop(
        gateway
            .admin
            .call(
                "PUT",
                "/postern/v1/sysctl/forward.x_forwarded",
                &json!({ "value": "off" }),
            )
            .result(),
    );
    let without = client.get("/z").await.unwrap().json();
    assert_eq!(without["headers"].get("x-forwarded-for"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_header_of_the_origins_own() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host_with(
            "api.example.test",
            "off",
            &json!({ "url": origin.url(), "host_header": "inner.test" }),
        )
        .start();
    let seen = gateway
        .client("api.example.test")
        .get("/")
        .await
        .unwrap()
        .json();
    assert_eq!(seen["headers"]["host"], json!(["inner.test"]));
    assert_eq!(
        seen["headers"]["x-forwarded-host"],
        json!(["api.example.test"])
    );
}

/// Spellings by which origins behind other gateways recognise a verified client.
const CLAIMS: &[&str] = &[
    "Client-Cert",
    "Client-Cert-Chain",
    "CF-Client-Cert-Sha256",
    "CF-Client-Cert-Der-Base64",
    "CF-Cert-Presented",
    "CF-Cert-Verified",
    "CF-Cert-Revoked",
    "CF-Cert-Subject-DN",
    "X-Client-Cert",
    "X-Client-Cert-Chain",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-SSL-Client-Verify",
    "X-SSL-Client-Cert",
    "X-SSL-Client-S-DN",
    "X-SSL-Cert",
    "SSL-Client-Verify",
    "SSL-Client-Cert",
    "SSL-Client-S-DN",
    "X-Amzn-Mtls-Clientcert",
    "X-Amzn-Mtls-Clientcert-Leaf",
    "X-Amzn-Mtls-Clientcert-Subject",
    "X-ARR-ClientCert",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_forged_certificate_reaches_the_origin() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .host("open.example.test", "off", &origin.url())
        .start();
    let mut count = 0;
    for host in ["api.example.test", "open.example.test"] {
        let mut raw = gateway.client(host).raw().await.unwrap();
        for claim in CLAIMS {
            let mixed: String = claim
                .chars()
                .enumerate()
                .map(|(i, c)| {
                    if i % 2 == 0 {
                        c.to_ascii_lowercase()
                    } else {
                        c.to_ascii_uppercase()
                    }
                })
                .collect();
            for name in [
                (*claim).to_owned(),
                claim.to_lowercase(),
                claim.to_uppercase(),
                claim.replace('-', "_"),
                claim.to_uppercase().replace('-', "_"),
                claim.replacen('-', "_", 1),
                claim.replace('-', "."),
                claim.replacen('-', "~", 1),
                mixed,
            ] {
                for nominated in [
                    "",
                    "Connection: x-forwarded-for, cf-cert-verified, client-cert\r\n",
                ] {
                    raw.write(format!(
                        "GET /{count} HTTP/1.1\r\nHost: {host}\r\n{nominated}{name}: forged\r\n{name}: true\r\n\r\n"
                    ))
                    .await;
                    let answer = raw.message().await.unwrap();
                    assert_eq!(answer.status(), 200, "{name}: {}", answer.text());
                    let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                    assert!(!seen.to_string().contains("forged"), "{name}: {seen}");
                    let told = if host.starts_with("api") {
                        json!(["false"])
                    } else {
                        json!(null)
                    };
                    assert_eq!(seen["headers"]["cf-cert-verified"], told, "{name}: {seen}");
                    assert_eq!(
                        seen["headers"]["x-forwarded-for"],
                        json!(["127.0.0.1"]),
                        "{name}"
                    );
                    count += 1;
                }
            }
        }
    }
    assert!(count > 800, "{count} spellings");
}

/// What only the edge knows: whoever says it is believed by some origin.
const EDGES: &[&str] = &[
    "CF-Connecting-IP",
    "True-Client-IP",
    "X-Real-IP",
    "Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Ssl",
    "X-Forwarded-Prefix",
    "X-Forwarded-User",
    "Forwarded",
    "Front-End-Https",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Proxy",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_edge_speaks_for_is_not_the_clients_to_say() {
    let origin = Origin::echo();
    let two = Origin::echo_http2();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .host_with(
            "two.example.test",
            "off",
            &json!({ "url": two.url(), "protocol": "http2" }),
        )
        .start();
    let client = gateway.client("api.example.test");
    let mut raw = client.raw().await.unwrap();
    let over_http2 = gateway.client("two.example.test").http2().await.unwrap();
    for edge in EDGES {
        for name in [
            edge.to_lowercase(),
            edge.to_uppercase(),
            edge.replace('-', "_"),
            edge.replace('-', "."),
            edge.replacen('-', "+", 1),
        ] {
            raw.write(format!(
                "POST /x HTTP/1.1\r\nHost: api.example.test\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: {name}\r\n{name}: forged\r\n{name}: forged\r\n\r\n\
                 1\r\na\r\n0\r\n{name}: forged\r\n\r\n"
            ))
            .await;
            let answer = raw.message().await.unwrap();
            assert_eq!(answer.status(), 200, "{name}: {}", answer.text());
            assert!(!answer.text().contains("forged"), "{name}: {answer:?}");
            let name = HeaderName::from_bytes(name.to_lowercase().as_bytes()).unwrap();
            let forged = HeaderValue::from_static("forged");
            let mut trailers = HeaderMap::new();
            trailers.append(name.clone(), forged.clone());
            let mut request = over_http2.request("/y", Trailing(Some(trailers)).boxed());
            *request.method_mut() = http::Method::POST;
            request.headers_mut().append(name.clone(), forged);
            let seen = over_http2.send(request).await.unwrap().json();
            assert!(!seen.to_string().contains("forged"), "{name}: {seen}");
        }
    }
    // An origin that wants one of them is told by a rule.
    let zone = gateway.zone_id(ZONE);
    let set = json!({ "rules": [{ "action": "rewrite", "expression": "true",
        "action_parameters": { "headers": {
            "X-Real-IP": { "operation": "set", "expression": "to_string(ip.src)" },
            "X-Forwarded-Port": { "operation": "set", "value": "443" } } } }] });
    let path =
        format!("/client/v4/zones/{zone}/rulesets/phases/http_request_late_transform/entrypoint");
    drop(gateway.admin.call("PUT", &path, &set).result());
    let mut http1 = client.http1().await.unwrap();
    let request = Request::get("/z")
        .header("host", "api.example.test")
        .header("x-real-ip", "forged")
        .header("x_real_ip", "forged");
    let seen = http1.send(request.body(body("")).unwrap()).await.unwrap();
    let seen = seen.json();
    assert_eq!(seen["headers"]["x-real-ip"], json!(["127.0.0.1"]), "{seen}");
    assert_eq!(
        seen["headers"]["x-forwarded-port"],
        json!(["443"]),
        "{seen}"
    );
    assert!(!seen.to_string().contains("forged"), "{seen}");
}

/// Trailers that a client sends with a body.
struct Trailing(Option<HeaderMap>);

impl http_body::Body for Trailing {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let trailers = self.0.take();
        std::task::Poll::Ready(trailers.map(|trailers| Ok(http_body::Frame::trailers(trailers))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_claim_crosses_in_trailers_or_over_http2() {
    // Over HTTP/2 an origin gets trailers whatever they are called.
    let origin = Origin::echo_http2();
    let to = json!({ "url": origin.url(), "protocol": "http2" });
    let gateway = Setup::new()
        .host_with("api.example.test", "request", &to)
        .host_with("open.example.test", "off", &to)
        .start();
    let device = gateway.authority(ZONE).client("device");
    for (host, identity) in [
        ("api.example.test", None),
        ("api.example.test", Some(&device)),
        ("open.example.test", None),
    ] {
        let client = gateway.client(host).identity_if(identity);
        let over_http2 = client.http2().await.unwrap();
        let mut raw = client.raw().await.unwrap();
        for claim in CLAIMS {
            for name in [claim.to_lowercase(), claim.to_lowercase().replace('-', "_")] {
                // HTTP/1.1: a chunked body with trailers, announced and not.
                for announced in [format!("Trailer: {name}, x-sum\r\n"), String::new()] {
                    raw.write(format!(
                        "POST /x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\
                         {announced}\r\n1\r\na\r\n0\r\n{name}: forged\r\n{name}: forged\r\n\
                         X-Forwarded-For: forged\r\nx-sum: 1\r\n\r\n"
                    ))
                    .await;
                    let answer = raw.message().await.unwrap();
                    let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                    let trailers = seen["trailers"].to_string();
                    assert!(!trailers.contains("forged"), "{name}: {seen}");
                    assert_eq!(seen["trailers"]["x-sum"], json!(["1"]), "{name}: {seen}");
                    assert_eq!(seen["body"], "a", "{name}: {seen}");
                }
                // HTTP/2: in the head, twice, and in the trailers.
                let forged = HeaderValue::from_static("forged");
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.append(name.clone(), forged.clone());
                trailers.append("x-forwarded-for", forged.clone());
                trailers.append("x-sum", HeaderValue::from_static("1"));
                let mut request = over_http2.request("/y", Trailing(Some(trailers)).boxed());
                *request.method_mut() = http::Method::POST;
                request.headers_mut().append(name.clone(), forged.clone());
                request.headers_mut().append(name.clone(), forged);
                let seen = over_http2.send(request).await.unwrap().json();
                assert!(!seen.to_string().contains("forged"), "{name}: {seen}");
                assert_eq!(seen["trailers"]["x-sum"], json!(["1"]), "{name}: {seen}");
                let verified = match (host, identity) {
                    ("open.example.test", _) => json!(null),
                    (_, identity) => json!([identity.is_some().to_string()]),
                };
                assert_eq!(
                    seen["headers"]["cf-cert-verified"], verified,
                    "{name}: {seen}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let mut http1 = gateway.client("api.example.test").http1().await.unwrap();
    let mut request = Request::get("/x").body(body("")).unwrap();
    for (name, value) in [
        ("host", "api.example.test"),
        ("connection", "x-private, keep-alive"),
        ("x-private", "secret"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic c2VjcmV0"),
        ("te", "gzip, trailers"),
        ("upgrade", "foo/2"),
        ("x-public", "yes"),
    ] {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request
            .headers_mut()
            .append(name, HeaderValue::from_static(value));
    }
    let seen = http1.send(request).await.unwrap().json();
    for name in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "connection",
    ] {
        assert_eq!(seen["headers"].get(name), None, "{name}: {seen}");
    }
    assert_eq!(seen["headers"]["te"], json!(["trailers"]));
    assert_eq!(seen["headers"]["x-public"], json!(["yes"]));

    let answer = http1.get("/rude").await.unwrap();
    for name in [
        "x-private",
        "keep-alive",
        "proxy-authenticate",
        "connection",
    ] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert_eq!(answer.header("x-public"), "yes");
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_says_in_which_dialect_the_origin_hears_of_the_certificate() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .start();
    let (_, device) = gateway.certificate(ZONE, "device");
    let client = gateway.client("api.example.test").identity(&device);
    let groups: [(&str, &[&str]); 7] = [
        (
            "verdict",
            &["cf-cert-presented", "cf-cert-verified", "cf-cert-revoked"],
        ),
        ("sha256", &["cf-client-cert-sha256"]),
        ("der", &["cf-client-cert-der-base64"]),
        ("client-cert", &["client-cert"]),
        ("client-cert-chain", &[]),
        (
            "transform",
            &[
                "cf-cert-presented",
                "cf-cert-verified",
                "cf-cert-revoked",
                "cf-cert-issuer-dn",
                "cf-cert-subject-dn",
                "cf-cert-issuer-dn-rfc2253",
                "cf-cert-subject-dn-rfc2253",
                "cf-cert-issuer-dn-legacy",
                "cf-cert-subject-dn-legacy",
                "cf-cert-serial",
                "cf-cert-issuer-serial",
                "cf-cert-fingerprint-sha256",
                "cf-cert-fingerprint-sha1",
                "cf-cert-not-before",
                "cf-cert-not-after",
                "cf-cert-ski",
                "cf-cert-issuer-ski",
            ],
        ),
        ("xfcc", &["x-forwarded-client-cert"]),
    ];
    let told = |seen: &serde_json::Value| {
        let headers = seen["headers"].as_object().unwrap();
        let mut names: Vec<String> = headers
            .keys()
            .filter(|name| name.contains("cert"))
            .cloned()
            .collect();
        names.sort();
        names
    };
    for (group, expected) in groups {
        let set = [
            "host",
            "set",
            "api.example.test",
            "--certificate-headers",
            group,
        ];
        assert_eq!(gateway.cli(&set).code, 0, "{group}");
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        expected.sort();
        let over_http1 = client.get("/x").await.unwrap().json();
        assert_eq!(told(&over_http1), expected, "{group}");
        let over_http2 = client.http2().await.unwrap();
        // Whatever the client says itself is gone, and every request is told, not only the first.
        for _ in 0..2 {
            let mut request = over_http2.request("/y", body(""));
            for claim in CLAIMS {
                let name = HeaderName::from_bytes(claim.as_bytes()).unwrap();
                let forged = HeaderValue::from_static("forged");
                request.headers_mut().append(name, forged);
            }
            let seen = over_http2.send(request).await.unwrap().json();
            assert_eq!(told(&seen), expected, "{group}, HTTP/2");
            assert!(!seen.to_string().contains("forged"), "{group}: {seen}");
        }
    }
    let all = "verdict,sha256,der,client-cert,client-cert-chain,transform,xfcc";
    let set = [
        "host",
        "set",
        "api.example.test",
        "--certificate-headers",
        all,
    ];
    assert_eq!(gateway.cli(&set).code, 0);
    // A chain with an intermediate has something to tell of.
    let below = gateway
        .root(&["api.example.test"])
        .intermediate(&tests::pki::Spec::authority("Below"));
    let deep = below.client("deep");
    let client = gateway.client("api.example.test").identity(&deep);
    let seen = client.get("/x").await.unwrap().json();
    let headers = &seen["headers"];
    let chain = headers["client-cert-chain"][0].as_str().unwrap();
    assert!(chain.starts_with(':') && chain.ends_with(':'), "{chain}");
    let leaf = headers["client-cert"][0].as_str().unwrap();
    assert_eq!(
        leaf.trim_matches(':'),
        headers["cf-client-cert-der-base64"][0].as_str().unwrap()
    );
    let xfcc = headers["x-forwarded-client-cert"][0].as_str().unwrap();
    let hash = headers["cf-client-cert-sha256"][0].as_str().unwrap();
    assert!(
        xfcc.starts_with(&format!("Hash={hash};Subject=\"")),
        "{xfcc}"
    );
    let set = [
        "host",
        "set",
        "api.example.test",
        "--certificate-headers",
        "none",
    ];
    assert_eq!(gateway.cli(&set).code, 0);
    let seen = client.get("/x").await.unwrap().json();
    assert_eq!(told(&seen), Vec::<String>::new());
    let wrong = [
        "host",
        "set",
        "api.example.test",
        "--certificate-headers",
        "cookies",
    ];
    assert_eq!(gateway.cli(&wrong).code, 2);
}
