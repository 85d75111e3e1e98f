//! ClientHellos as tables: every way to write one, every way to end one, every byte changed.

use super::{
    EXTENSIONS_MAX, Hello, NAME_SIZE_MAX, exact_key, find, first_label, host_key, start, walk,
    wildcard_key,
};
use crate::cursor::{Cursor, Memory, WINDOW_SIZE, Window};
use proptest::prelude::*;

/// A `server_name` extension with the usual lengths.
fn sni(name: &[u8]) -> Vec<u8> {
    let size = u16::try_from(name.len()).unwrap();
    let mut data = Vec::new();
    data.extend((size + 3).to_be_bytes());
    data.push(0);
    data.extend(size.to_be_bytes());
    data.extend(name);
    extension(0, &data)
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

/// A ClientHello message's body with these extensions; `None` leaves even their length out.
fn body(session: &[u8], extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.push(u8::try_from(session.len()).unwrap());
    body.extend(session);
    body.extend([0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
    if let Some(extensions) = extensions {
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
    }
    body
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut message = vec![1];
    message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    message.extend(body);
    message
}

fn record(payload: &[u8]) -> Vec<u8> {
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    record.extend(payload);
    record
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    record(&message(&body(&[7; 32], Some(extensions))))
}

/// What the search says, with the name itself instead of its place.
fn read(bytes: &[u8]) -> Result<Vec<u8>, Hello> {
    match find(bytes, 0, bytes.len()) {
        Hello::Named { at, size } => Ok(bytes[at..at + size].to_vec()),
        other => Err(other),
    }
}

/// What is sent, and what is read from it.
type Row<'a> = (&'static str, Vec<u8>, Result<&'a [u8], Hello>);

#[test]
fn names_are_found_wherever_they_stand() {
    let grease = extension(0x0a0a, &[]);
    let versions = extension(43, &[2, 3, 4]);
    let many = |count: usize| {
        (0..count)
            .flat_map(|kind| extension(u16::try_from(kind).unwrap() + 100, &[1, 2, 3]))
            .collect::<Vec<_>>()
    };
    let long = [b'a'; NAME_SIZE_MAX];
    let table: Vec<Row<'_>> = vec![
        (
            "alone",
            hello(&sni(b"api.example.com")),
            Ok(b"api.example.com"),
        ),
        (
            "after GREASE",
            hello(&[grease.clone(), versions.clone(), sni(b"a.b")].concat()),
            Ok(b"a.b"),
        ),
        (
            "before others",
            hello(&[sni(b"a.b"), versions.clone()].concat()),
            Ok(b"a.b"),
        ),
        (
            "without a session id",
            record(&message(&body(&[], Some(&sni(b"a.b"))))),
            Ok(b"a.b"),
        ),
        (
            "as the last one looked at",
            hello(&[many(EXTENSIONS_MAX - 1), sni(b"a.b")].concat()),
            Ok(b"a.b"),
        ),
        (
            "one too far",
            hello(&[many(EXTENSIONS_MAX), sni(b"a.b")].concat()),
            Err(Hello::Unusual),
        ),
        (
            "upper case stays as sent",
            hello(&sni(b"API.Example")),
            Ok(b"API.Example"),
        ),
        ("the longest", hello(&sni(&long)), Ok(&long)),
        (
            "longer than a host name can be",
            hello(&sni(&[b'a'; 255])),
            Err(Hello::Nameless),
        ),
        (
            "no extension names a host",
            hello(&[grease, versions].concat()),
            Err(Hello::Nameless),
        ),
        (
            "as many as are looked at",
            hello(&many(EXTENSIONS_MAX)),
            Err(Hello::Nameless),
        ),
        ("no extensions at all", hello(&[]), Err(Hello::Nameless)),
        (
            "from before extensions",
            record(&message(&body(&[], None))),
            Err(Hello::Nameless),
        ),
    ];
    for (description, bytes, expected) in table {
        assert_eq!(read(&bytes), expected.map(<[u8]>::to_vec), "{description}");
    }
}

#[test]
fn what_is_no_hello_names_nobody() {
    let good = hello(&sni(b"a.example"));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let two_names = extension(0, &[0, 8, 0, 0, 1, b'a', 0, 0, 1, b'b']);
    let mut overlong_session = body(&[7; 32], Some(&sni(b"a.example")));
    overlong_session[34] = 33;
    let mut short_extensions = body(&[], Some(&sni(b"a.example")));
    short_extensions[44] -= 1;
    let table: Vec<(&str, Vec<u8>, Hello)> = vec![
        (
            "plain HTTP",
            b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(),
            Hello::Foreign,
        ),
        (
            "SSLv2",
            vec![0x80, 0x2e, 0x01, 0x03, 0x01, 0, 0x15, 0, 0, 0, 0x10],
            Hello::Foreign,
        ),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 40], Hello::Foreign),
        ("application data", changed(0, 23), Hello::Foreign),
        ("SSL 2 as the major version", changed(1, 2), Hello::Foreign),
        ("a ServerHello", changed(5, 2), Hello::Foreign),
        ("an empty record", record(&[]), Hello::Foreign),
        (
            "a session id of 33 bytes",
            record(&message(&overlong_session)),
            Hello::Foreign,
        ),
        (
            "extensions shorter than the message",
            record(&message(&short_extensions)),
            Hello::Foreign,
        ),
        (
            "an extension longer than the message",
            hello(&[0, 10, 0, 200, 1]),
            Hello::Foreign,
        ),
        ("two names in the list", hello(&two_names), Hello::Foreign),
        ("an empty name", hello(&sni(b"")), Hello::Foreign),
        (
            "an empty list",
            hello(&extension(0, &[0, 0, 0, 0, 0])),
            Hello::Foreign,
        ),
        (
            "another kind of name",
            hello(&extension(0, &[0, 4, 1, 0, 1, b'a'])),
            Hello::Foreign,
        ),
        (
            "a list longer than its extension",
            hello(&extension(0, &[0, 9, 0, 0, 1, b'a'])),
            Hello::Foreign,
        ),
        ("a record that holds one byte", record(&[1]), Hello::Unusual),
        ("nothing", vec![], Hello::Partial),
    ];
    for (description, bytes, expected) in table {
        assert_eq!(read(&bytes), Err(expected), "{description}");
    }
}

#[test]
fn a_message_over_two_records_is_left_to_user_space() {
    let message = message(&body(&[7; 32], Some(&sni(b"a.example"))));
    for cut in 1..message.len() {
        let (first, second) = message.split_at(cut);
        let bytes = [record(first), record(second)].concat();
        assert_eq!(read(&bytes), Err(Hello::Unusual), "cut at {cut}");
    }
}

#[test]
fn every_prefix_waits_until_the_name_is_there() {
    let bytes = hello(
        &[
            extension(43, &[2, 3, 4]),
            sni(b"api.example.com"),
            extension(16, &[0, 0]),
        ]
        .concat(),
    );
    let Hello::Named { at, size } = find(&bytes[..], 0, bytes.len()) else {
        panic!("the whole hello has a name");
    };
    for end in 0..=bytes.len() {
        let expected = if end < at + size {
            Hello::Partial
        } else {
            Hello::Named { at, size }
        };
        assert_eq!(
            find(&bytes[..end], 0, end),
            expected,
            "a slice of {end} bytes"
        );
        assert_eq!(
            find(&bytes[..], 0, end),
            expected,
            "{end} bytes have arrived"
        );
    }
}

#[test]
fn a_walk_goes_on_where_it_stopped() {
    let bytes = hello(
        &[
            extension(43, &[2, 3, 4]),
            extension(51, &[7; 90]),
            sni(b"api.example.com"),
            extension(16, &[0, 0]),
        ]
        .concat(),
    );
    let whole = find(&bytes[..], 0, bytes.len());
    for cut in 0..bytes.len() {
        let Ok(mut extensions) = start(&bytes[..], 0, cut) else {
            continue;
        };
        // Byte by byte from there on.
        let mut answer = Hello::Partial;
        for end in cut..=bytes.len() {
            answer = walk(&bytes[..], &mut extensions, end);
            if answer != Hello::Partial {
                break;
            }
        }
        assert_eq!(answer, whole, "cut at {cut}");
    }
}

#[test]
fn an_offset_moves_the_answer_and_nothing_else() {
    let bytes = hello(&sni(b"a.example"));
    let Hello::Named { at, size } = find(&bytes[..], 0, bytes.len()) else {
        panic!("the hello has a name");
    };
    let moved = [vec![0xEE; 54], bytes].concat();
    assert_eq!(
        find(&moved[..], 54, moved.len()),
        Hello::Named { at: at + 54, size }
    );
}

/// The keys of a whole name: its own, and its wildcard's.
fn keys<C: Cursor + ?Sized>(bytes: &C, at: usize, size: usize) -> Option<(u64, Option<u64>)> {
    let exact = exact_key(bytes, at, size)?;
    let label = first_label(bytes, at, size);
    Some((
        exact,
        label.and_then(|label| wildcard_key(bytes, at, size, label)),
    ))
}

#[test]
fn keys_meet_the_hosts_they_belong_to() {
    let long = format!("{}.example.com", "x".repeat(63));
    for (name, exact, wildcard) in [
        ("api.example.com", "api.example.com", Some("*.example.com")),
        ("API.Example.COM.", "api.example.com", Some("*.example.com")),
        (
            "a.b.example.com",
            "a.b.example.com",
            Some("*.b.example.com"),
        ),
        ("x.y", "x.y", Some("*.y")),
        ("12345678.y", "12345678.y", Some("*.y")),
        ("1234567.y", "1234567.y", Some("*.y")),
        (&long, &long, Some("*.example.com")),
        ("localhost", "localhost", None),
        ("localhost.", "localhost", None),
        (".example.com", ".example.com", None),
    ] {
        let wanted = (host_key(exact), wildcard.map(host_key));
        assert_eq!(keys(name.as_bytes(), 0, name.len()), Some(wanted), "{name}");
        // The kernel reads it out of a window, at any offset.
        let mut memory = [0xEE; size_of::<Memory>()];
        for at in [0, 7, WINDOW_SIZE - name.len()] {
            memory[at..at + name.len()].copy_from_slice(name.as_bytes());
            let window = Window::new(&memory, at + name.len());
            assert_eq!(keys(&window, at, name.len()), Some(wanted), "{name} {at}");
        }
    }
    let names = ["api.example.com", "api.example.org", "api.example.co", ""];
    for (at, one) in names.iter().enumerate() {
        for other in &names[..at] {
            assert_ne!(host_key(one), host_key(other));
        }
    }
    assert_eq!(keys(&b"abc"[..], 0, 0), None);
    assert_eq!(keys(&b"abc"[..], 0, 4), None);
    assert_eq!(keys(&[b'a'; 300][..], 0, 255), None);
    assert!(keys(&[b'a'; 300][..], 0, NAME_SIZE_MAX).is_some());
}

proptest! {
    #[test]
    fn noise_never_panics_and_never_names_what_is_not_there(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Hello::Named { at, size } = find(&bytes[..], 0, bytes.len()) {
            prop_assert!(size > 0 && size <= NAME_SIZE_MAX && at + size <= bytes.len());
        }
    }

    #[test]
    fn one_changed_byte_never_panics(at in 0usize..140, byte in any::<u8>()) {
        let mut bytes = hello(&[extension(43, &[2, 3, 4]), sni(b"api.example.com")].concat());
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Hello::Named { at, size } = find(&bytes[..], 0, bytes.len()) {
            prop_assert!(keys(&bytes[..], at, size).is_some());
        }
    }

    #[test]
    fn a_window_and_a_slice_agree(mut bytes in prop::collection::vec(any::<u8>(), 0..300), real in any::<bool>()) {
        if real {
            bytes = [hello(&sni(b"api.example.com")), bytes].concat();
        }
        let mut memory = [0xEE; size_of::<Memory>()];
        memory[..bytes.len()].copy_from_slice(&bytes);
        let window = Window::new(&memory, bytes.len());
        prop_assert_eq!(find(&window, 0, window.len()), find(&bytes[..], 0, bytes.len()));
    }
}
