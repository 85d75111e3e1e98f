//! Lines of the access log in NCSA's Common Log Format, and in the combined one.
//!
//! `192.0.2.1 - 9f86d081… [21/Nov/2026:01:22:09 +0000] "GET /path HTTP/1.1" 200 5`, and combined
//! `"referer" "user agent"` behind it. Of the two names before the time the first is never known; the
//! second is the fingerprint of the client's certificate, once that is verified. A connection that was
//! refused before any request has `"-" 400 0`, as nginx writes it. What clients say is escaped as nginx
//! escapes it (`\x22`), so that no field can end early. Where there is a sample, a last field says of how
//! many lines it is there for: `stands_for=100`.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use super::json::{digits, ipv4, second};
use super::record::{RequestRecord, without_query};
use crate::limits;

/// Writes a request.
pub(super) fn request(
    out: &mut Vec<u8>,
    record: &RequestRecord<'_>,
    is_combined: bool,
    stands_for: u32,
) {
    let client = record.client_auth;
    let user = if client.verdict.verified {
        &*client.fingerprint_sha256
    } else {
        ""
    };
    head(out, record.client, user, record.time);
    // What other servers say for it.
    let version = match record.http_version {
        "HTTP/2" => "HTTP/2.0",
        other => other,
    };
    if record.method.is_empty() && record.path.is_empty() {
        out.push(b'-');
    } else {
        escaped(out, record.method.as_bytes());
        out.push(b' ');
        escaped(out, record.path.as_bytes());
        out.push(b' ');
        out.extend_from_slice(version.as_bytes());
    }
    let said = is_combined.then_some((record.referer, record.user_agent));
    tail(out, record.status, record.bytes_sent, said, stands_for);
}

/// Writes a connection that was refused or ended.
pub(super) fn connection(
    out: &mut Vec<u8>,
    (client, time): (SocketAddr, SystemTime),
    is_combined: bool,
    stands_for: u32,
) {
    head(out, client, "", time);
    out.push(b'-');
    let said: Option<(&[u8], &[u8])> = is_combined.then_some((b"", b""));
    tail(out, 400, 0, said, stands_for);
}

fn head(out: &mut Vec<u8>, client: SocketAddr, user: &str, time: SystemTime) {
    match client.ip() {
        IpAddr::V4(v4) => ipv4(out, v4),
        // Writing into a vector does not fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
    out.extend_from_slice(b" - ");
    if user.is_empty() {
        out.push(b'-');
    } else {
        out.extend_from_slice(user.as_bytes());
    }
    out.extend_from_slice(b" [");
    date(out, time);
    out.extend_from_slice(b"] \"");
}

fn tail(
    out: &mut Vec<u8>,
    status: u16,
    bytes_sent: u64,
    said: Option<(&[u8], &[u8])>,
    stands_for: u32,
) {
    out.extend_from_slice(b"\" ");
    digits(out, status.into(), 3);
    out.push(b' ');
    digits(out, bytes_sent, 1);
    if let Some((referer, user_agent)) = said {
        for text in [without_query(referer), user_agent] {
            out.extend_from_slice(b" \"");
            if text.is_empty() {
                out.push(b'-');
            } else {
                escaped(out, text);
            }
            out.push(b'"');
        }
    }
    if stands_for > 1 {
        out.extend_from_slice(b" stands_for=");
        digits(out, stands_for.into(), 1);
    }
    out.push(b'\n');
}

/// `21/Nov/2026:01:22:09 +0000`
fn date(out: &mut Vec<u8>, time: SystemTime) {
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let text = second(time);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).iter().fold(0, |month, digit| {
        month * 10 + usize::from(digit.saturating_sub(b'0'))
    });
    let name = MONTHS.get(month.wrapping_sub(1)).copied().unwrap_or(b"Jan");
    out.extend_from_slice(part(8..10));
    out.push(b'/');
    out.extend_from_slice(name);
    out.push(b'/');
    out.extend_from_slice(part(0..4));
    out.push(b':');
    out.extend_from_slice(part(11..19));
    out.extend_from_slice(b" +0000");
}

/// Visible ASCII and blanks as they are, all else as `\xHH`; at most
/// [`limits::ACCESS_LOG_FIELD_BYTES_MAX`] bytes, of which three dots are the last where more came.
fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let end = out.len() + limits::ACCESS_LOG_FIELD_BYTES_MAX - 3;
    for byte in text {
        let start = out.len();
        match byte {
            b'"' | b'\\' | ..0x20 | 0x7f.. => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 0xf)]);
            }
            _ => out.push(*byte),
        }
        if out.len() > end {
            out.truncate(start);
            out.extend_from_slice(b"...");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::request as record;
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};
    use vocabulary::client_auth::ClientAuth;
    use vocabulary::verdict::{Reason, Verdict};

    fn line(record: &RequestRecord<'_>, is_combined: bool, stands_for: u32) -> String {
        let mut out = Vec::new();
        request(&mut out, record, is_combined, stands_for);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_as_other_servers_write_them() {
        let nobody = ClientAuth::none();
        let known = ClientAuth {
            verdict: Verdict {
                presented: true,
                verified: true,
                revoked: false,
                reason: Reason::Verified,
            },
            fingerprint_sha256: "9f86".into(),
            ..ClientAuth::none()
        };
        let plain = record("/admin", &nobody);
        let told = RequestRecord {
            client: "[2001:db8::1]:5".parse().unwrap(),
            client_auth: &known,
            http_version: "HTTP/1.1",
            status: 200,
            user_agent: b"curl/8 \"\\ \x1b[31m \xff",
            referer: b"https://a.example/x?token=secret",
            ..plain
        };
        let unread = RequestRecord {
            method: "",
            path: "",
            status: 400,
            ..plain
        };
        for (record, is_combined, stands_for, wanted) in [
            (
                &plain,
                false,
                1,
                "192.0.2.1 - - [21/Nov/2025:01:22:09 +0000] \"GET /admin HTTP/2.0\" 403 5\n",
            ),
            (
                &plain,
                true,
                100,
                "192.0.2.1 - - [21/Nov/2025:01:22:09 +0000] \"GET /admin HTTP/2.0\" 403 5 \"-\" \"-\" stands_for=100\n",
            ),
            (
                &told,
                true,
                1,
                "2001:db8::1 - 9f86 [21/Nov/2025:01:22:09 +0000] \"GET /admin HTTP/1.1\" 200 5 \
                 \"https://a.example/x\" \"curl/8 \\x22\\x5C \\x1B[31m \\xFF\"\n",
            ),
            (
                &unread,
                false,
                1,
                "192.0.2.1 - - [21/Nov/2025:01:22:09 +0000] \"-\" 400 5\n",
            ),
        ] {
            assert_eq!(line(record, is_combined, stands_for), wanted);
        }
        let mut out = Vec::new();
        let at = UNIX_EPOCH + Duration::from_secs(1_767_225_599);
        connection(&mut out, ("192.0.2.9:1".parse().unwrap(), at), true, 7);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "192.0.2.9 - - [31/Dec/2025:23:59:59 +0000] \"-\" 400 0 \"-\" \"-\" stands_for=7\n"
        );
    }

    proptest! {
        #[test]
        fn whatever_clients_say_is_inside_its_quotes(
            path in "\\p{any}{0,50}", agent in proptest::collection::vec(any::<u8>(), 0..4_000)
        ) {
            let nobody = ClientAuth::none();
            let said = RequestRecord { user_agent: &agent, referer: &agent, ..record(&path, &nobody) };
            let line = line(&said, true, 1);
            prop_assert!(line.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(line.matches('"').count(), 6, "{}", line);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(line.len() <= 3 * limits::ACCESS_LOG_FIELD_BYTES_MAX + 200);
        }
    }
}
