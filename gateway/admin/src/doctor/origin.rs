//! The check of a host's origin: whether it can be reached, and whether its certificate is believed.
//!
//! Connects as the data path does, with the same settings, so that what is found here is what
//! requests meet. Sends no request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Instant;

use control::OriginSpec;
use serde_json::Value;
use snapshot::http::origin::Origin;
use snapshot::http::proxy_header;
use tls::{Alpn, HandshakeFailure, OriginFlaw, OriginTls, Session};

use super::checks::{coverage, has_expired};
use super::report::{Finding, State};
use super::str_of;
use crate::limits::DOCTOR_ORIGIN_TIMEOUT;

const CHECK: &str = "origin";

pub(super) fn origin(host: &Value) -> Finding {
    let name = str_of(host, "name");
    let mut spec = host.get("origin").cloned().unwrap_or_default();
    // Its key is with the gateway alone: what is asked for here is refused by an origin that insists.
    let is_shown_one = spec
        .as_object_mut()
        .is_some_and(|spec| spec.remove("client_certificate").is_some());
    let url = str_of(&spec, "url").to_owned();
    let set = || format!("postern host set {name} --origin URL");
    let bad = |said: String, mend: String| Finding::new(CHECK, State::Bad, said, mend);
    let spec: OriginSpec = match serde_json::from_value(spec) {
        Ok(spec) => spec,
        Err(why) => return bad(format!("{url} is not understood: {why}"), set()),
    };
    if let Some(name) = &spec.name {
        return bad(format!("the zone has no origin {name}"), set());
    }
    let origins = match control::origins(&spec, &std::sync::Arc::default(), None) {
        Ok(origins) => origins,
        Err(why) => return bad(format!("{url} cannot be used: {why}"), set()),
    };
    if let Some(ended) = shown_has_ended(host) {
        return ended;
    }
    let mut found: Vec<Finding> = origins
        .iter()
        .map(|one| address(name, &spec, one, is_shown_one))
        .collect();
    let count = found.len();
    let bad_ones = found.iter().filter(|one| one.state == State::Bad).count();
    if bad_ones == 0
        && let Some(out) = out_of_use(host)
    {
        return out;
    }
    // Of several the worst; of equals the first.
    found.sort_by_key(|one| std::cmp::Reverse(one.state));
    match found.into_iter().next() {
        Some(worst) if (1..count).contains(&bad_ones) => {
            let said = format!(
                "{bad_ones} of {count} addresses are no good: {}",
                worst.said
            );
            Finding::new(CHECK, State::Doubt, said, worst.mend)
        }
        Some(worst) => worst,
        None => bad("it has no address".into(), set()),
    }
}

/// A certificate that the origin is shown, and that it will not take.
fn shown_has_ended(host: &Value) -> Option<Finding> {
    let shown = host.get("origin_client_certificate")?;
    if !has_expired(shown) {
        return None;
    }
    let until = str_of(shown, "expires_on");
    let said = format!("the certificate that it is shown expired on {until}");
    let mend = "bring a new one: `--origin-client-cert FILE --origin-client-key FILE` of `postern host \
                set`, or of `postern origin set`";
    Some(Finding::new(CHECK, State::Bad, said, mend))
}

/// An address that takes connections, and gets no requests all the same.
fn out_of_use(host: &Value) -> Option<Finding> {
    let addresses = host.get("addresses").and_then(Value::as_array)?;
    let unfound = |one: &&Value| !str_of(one, "name_error").is_empty();
    if let Some(address) = addresses.iter().find(unfound) {
        let (url, why) = (str_of(address, "url"), str_of(address, "name_error"));
        let said = format!("the name in {url} was not found the last time: {why}");
        let mend = "look at DNS; requests go to the addresses that were found last";
        return Some(Finding::new(CHECK, State::Doubt, said, mend));
    }
    let is_out = |one: &&Value| matches!(str_of(one, "state"), "ejected" | "unhealthy");
    let out = addresses.iter().find(is_out)?;
    let url = str_of(out, "url");
    let (said, mend) = match str_of(out, "state") {
        "unhealthy" => (
            format!("{url} gets no requests: {}", str_of(out, "health_error")),
            "mend what the health check asks for, or the check: `postern origin show`",
        ),
        _ => (
            format!(
                "{url} gets no requests for a while: too many failed ({})",
                str_of(out, "last_failure")
            ),
            "look at the log of that origin; `postern origin list` shows when it is used again",
        ),
    };
    Some(Finding::new(CHECK, State::Doubt, said, mend))
}

/// The check of one address.
fn address(name: &str, spec: &OriginSpec, origin: &Origin, is_shown_one: bool) -> Finding {
    let url = &*origin.url;
    let set = || format!("postern host set {name} --origin URL");
    let bad = |said: String, mend: String| Finding::new(CHECK, State::Bad, said, mend);
    let connected = connect(&origin.host, origin.port).and_then(|mut stream| {
        if origin.proxy_protocol {
            stream.write_all(&proxy_header::LOCAL)?;
        }
        Ok(stream)
    });
    let stream = match connected {
        Ok(stream) => stream,
        Err(why) => {
            let said = format!("{url} cannot be reached: {why}");
            let mend = format!("start the origin, or open the way to it, or {}", set());
            return bad(said, mend);
        }
    };
    let Some(tls) = &origin.tls else {
        let said = format!("{url} takes connections; it is not encrypted: no certificate to match");
        return Finding::good(CHECK, said);
    };
    let wanted = spec
        .server_name
        .as_ref()
        .map_or(&*origin.host, |name| name.as_str());
    match shake(tls, stream) {
        Ok(names) => match coverage(&names, wanted) {
            Some(false) => Finding::new(
                CHECK,
                State::Doubt,
                format!("only a wildcard of its certificate covers {wanted}"),
                format!("give the origin a certificate that names {wanted}"),
            ),
            _ => Finding::good(
                CHECK,
                format!("its certificate names {wanted}, and is believed"),
            ),
        },
        // Many say so with an alert in the handshake.
        Err(Fault::Handshake(why)) if is_shown_one => Finding::new(
            CHECK,
            State::Doubt,
            format!("{url} does not finish a TLS handshake without our certificate: {why}"),
            "that may be as it should be: only the gateway has the key; its log and the metric \
             `postern_origin_requests_failed_total` say whether requests fail",
        ),
        Err(Fault::Handshake(why)) => bad(
            format!("{url} does not finish a TLS handshake: {why}"),
            format!(
                "is there TLS at that port? `openssl s_client -connect HOST:PORT`; or {}",
                set()
            ),
        ),
        Err(Fault::Certificate(flaw, names)) => {
            let mend = match flaw {
                OriginFlaw::Expired => "renew the origin's certificate".to_owned(),
                OriginFlaw::NotYetValid => {
                    "check the clocks of this machine and of the origin".to_owned()
                }
                OriginFlaw::UnknownCa => format!(
                    "postern host set {name} --origin-ca FILE, with the CA that signed it; an origin \
                     has to send its intermediates"
                ),
                OriginFlaw::WrongName(_) => format!(
                    "postern host set {name} --origin-server-name NAME, or another certificate"
                ),
                OriginFlaw::Other(_) => "give the origin another certificate".to_owned(),
            };
            let held = match (&flaw, names.as_slice()) {
                (OriginFlaw::WrongName(_), []) => "; it has none in subjectAltName".to_owned(),
                (OriginFlaw::WrongName(_), names) => format!("; it is for {}", names.join(", ")),
                _ => String::new(),
            };
            bad(
                format!("{url}: {flaw}{held}; requests are answered 502"),
                mend,
            )
        }
    }
}

/// Tries every address, as the data path does.
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, DOCTOR_ORIGIN_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(DOCTOR_ORIGIN_TIMEOUT))?;
                stream.set_write_timeout(Some(DOCTOR_ORIGIN_TIMEOUT))?;
                return Ok(stream);
            }
            Err(why) => last = why,
        }
    }
    Err(last)
}

/// Why there is no TLS connection to an origin.
enum Fault {
    Handshake(String),
    /// What is wrong with the certificate, and the names in it.
    Certificate(OriginFlaw, Vec<String>),
}

impl From<io::Error> for Fault {
    fn from(why: io::Error) -> Self {
        Self::Handshake(match why.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("nothing came for {} s", DOCTOR_ORIGIN_TIMEOUT.as_secs())
            }
            _ => why.to_string(),
        })
    }
}

/// Makes the handshake; answers the names in the origin's certificate.
fn shake(tls: &OriginTls, mut stream: TcpStream) -> Result<Vec<String>, Fault> {
    let start = Instant::now();
    let mut session =
        Session::connect(tls, Alpn::Either).map_err(|why| Fault::Handshake(why.to_string()))?;
    let mut received = vec![0; 16 * 1024];
    loop {
        let outcome = session.handshake();
        let sent = session.wire().swap_outgoing(Vec::new());
        // An alert that cannot be sent is no news.
        let written = stream.write_all(&sent);
        match outcome {
            Ok(true) => return Ok(session.origin_names()),
            Ok(false) => written?,
            Err(failure) => return Err(fault(&session, tls, &failure)),
        }
        if start.elapsed() > DOCTOR_ORIGIN_TIMEOUT {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        let count = stream.read(&mut received)?;
        let bytes = received.get(..count).unwrap_or_default().to_vec();
        session.wire().give_incoming(bytes);
    }
}

fn fault(session: &Session, tls: &OriginTls, failure: &HandshakeFailure) -> Fault {
    match session.origin_flaw(tls) {
        Some(flaw) => Fault::Certificate(flaw, session.origin_names()),
        None => Fault::Handshake(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use boring::ssl::{SslAcceptor, SslMethod};
    use fixtures::pki::{Authority, Identity, Spec};
    use serde_json::json;

    use super::*;

    /// An origin that takes one connection, and shakes hands if it has a certificate.
    fn serve(identity: Option<&Identity>) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = identity.map(|identity| {
            let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
            acceptor.set_private_key(&identity.key).unwrap();
            acceptor.set_certificate(identity.leaf()).unwrap();
            for issuer in identity.chain.iter().skip(1) {
                acceptor.add_extra_chain_cert(issuer.clone()).unwrap();
            }
            acceptor.build()
        });
        let served = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            if let Some(acceptor) = acceptor {
                // The client may refuse us: that is what is looked at.
                drop(acceptor.accept(stream));
            }
        });
        (port, served)
    }

    fn look(url: String, ca: &Authority) -> Finding {
        origin(&json!({
            "name": "a.test",
            "origin": { "url": url, "server_name": "api.origin.test", "ca_pem": ca.pem() },
        }))
    }

    #[test]
    fn what_is_wrong_with_an_origin_is_found() {
        let ca = Authority::root("origins");
        let stranger = Authority::root("stranger");
        let named = || Spec::server(&["api.origin.test"]);
        let common_name_only = Spec {
            dns: Vec::new(),
            ..named()
        };
        for (what, identity, state, said, mend) in [
            (
                "good",
                ca.issue(&named()),
                State::Good,
                "names api.origin.test",
                "",
            ),
            (
                "a wildcard",
                ca.issue(&Spec::server(&["*.origin.test"])),
                State::Doubt,
                "only a wildcard",
                "api.origin.test",
            ),
            (
                "expired",
                ca.issue(&Spec {
                    begins: -100,
                    ends: -10,
                    ..named()
                }),
                State::Bad,
                "has expired",
                "renew",
            ),
            (
                "not begun",
                ca.issue(&Spec {
                    begins: 3600,
                    ..named()
                }),
                State::Bad,
                "not valid yet",
                "clocks",
            ),
            (
                "another CA",
                stranger.issue(&named()),
                State::Bad,
                "no CA that is believed",
                "--origin-ca",
            ),
            (
                "another name",
                ca.issue(&Spec::server(&["b.test"])),
                State::Bad,
                "it is for b.test",
                "--origin-server-name",
            ),
            (
                "a common name only",
                ca.issue(&common_name_only),
                State::Bad,
                "none in subjectAltName",
                "--origin-server-name",
            ),
        ] {
            let (port, served) = serve(Some(&identity));
            let found = look(format!("https://127.0.0.1:{port}"), &ca);
            served.join().unwrap();
            assert_eq!(found.state, state, "{what}: {}", found.said);
            assert!(found.said.contains(said), "{what}: {}", found.said);
            assert!(found.mend.contains(mend), "{what}: {}", found.mend);
        }
    }

    #[test]
    fn a_certificate_that_the_origin_is_shown_is_looked_at() {
        let ca = Authority::root("origins");
        let (port, served) = serve(Some(&ca.issue(&Spec::server(&["api.origin.test"]))));
        let look = |expires: &str| {
            origin(&json!({
                "name": "a.test",
                "origin": {
                    "url": format!("https://127.0.0.1:{port}"), "server_name": "api.origin.test",
                    "ca_pem": ca.pem(), "client_certificate": { "certificate": "PEM" },
                },
                "origin_client_certificate": { "expires_on": expires },
            }))
        };
        let ended = look("2020-01-01T00:00:00Z");
        assert_eq!(ended.state, State::Bad, "{}", ended.said);
        assert!(ended.said.contains("expired on 2020"), "{}", ended.said);
        let good = look("2120-01-01T00:00:00Z");
        served.join().unwrap();
        assert_eq!(good.state, State::Good, "{}", good.said);
        // One that hangs up may want what only the gateway has.
        let (port, served) = serve(None);
        let found = origin(&json!({
            "name": "a.test",
            "origin": {
                "url": format!("https://127.0.0.1:{port}"), "ca_pem": ca.pem(),
                "client_certificate": { "certificate": "PEM" },
            },
        }));
        served.join().unwrap();
        assert_eq!(found.state, State::Doubt, "{}", found.said);
        assert!(
            found.said.contains("without our certificate"),
            "{}",
            found.said
        );
    }

    #[test]
    fn an_origin_that_is_down_or_speaks_no_tls_is_found() {
        let ca = Authority::root("origins");
        let gone = fixtures::new_port();
        for url in [
            format!("http://127.0.0.1:{gone}"),
            format!("https://127.0.0.1:{gone}"),
        ] {
            let plain = url.starts_with("http:");
            let found = match plain {
                true => origin(&json!({ "name": "a.test", "origin": { "url": url } })),
                false => look(url, &ca),
            };
            assert_eq!(found.state, State::Bad, "{}", found.said);
            assert!(found.said.contains("cannot be reached"), "{}", found.said);
        }
        let (port, served) = serve(None);
        let found = look(format!("https://127.0.0.1:{port}"), &ca);
        served.join().unwrap();
        assert_eq!(found.state, State::Bad);
        assert!(found.said.contains("TLS handshake"), "{}", found.said);
        let (port, served) = serve(None);
        let url = format!("http://127.0.0.1:{port}");
        let found = origin(&json!({ "name": "a.test", "origin": { "url": url } }));
        served.join().unwrap();
        assert_eq!(found.state, State::Good, "{}", found.said);
    }
}
