//! Headers do what a plain list of names and values does, whichever they are kept as.

use bytes::BytesMut;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderName, HeaderValue};

use super::Headers;
use crate::fuzz::random::Random;
use crate::head::{Head, Known, Scan};
use crate::limits::Limits;
use crate::names::Names;

const NAMES: &[&str] = &["host", "accept", "cookie", "connection", "te", "x-a", "x-b"];
const VALUES: &[&str] = &["", "a", "b, c", "caf\u{e9}"];
const LINES: &[&str] = &["{}: {}\r\n", "{}:{}\r\n", "{}:\t {} \r\n", "{}: {}\n"];

/// The oracle: names in lower case, and values, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct List(Vec<(String, Vec<u8>)>);

impl List {
    fn of(headers: &Headers) -> Self {
        let pair = |(name, value): (&[u8], &[u8])| {
            (String::from_utf8(name.to_vec()).unwrap(), value.to_vec())
        };
        Self(headers.iter().map(pair).collect())
    }

    fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.0.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| &**value).collect()
    }

    fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    fn remove(&mut self, is_out: impl Fn(&str) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|(name, _)| !is_out(name));
        self.0.len() < before
    }

    /// What it says, without the order of different names, which a map has of its own.
    fn sorted(mut self) -> Self {
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        self
    }
}

fn name_of(name: &str) -> HeaderName {
    HeaderName::from_bytes(name.as_bytes()).unwrap()
}

fn value_of(value: &str) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap()
}

/// Some headers as HTTP/1.1 brings them, in lines and letters of any kind, and what they say.
fn read(random: &mut Random, head: &mut Head, headers: &mut Headers) -> List {
    let (mut text, mut list) = (String::from("GET / HTTP/1.1\r\n"), List::default());
    for _ in 0..random.below(6) {
        let (name, value) = (random.one(NAMES), random.one(VALUES));
        let spelled = match random.below(3) {
            0 => name.to_ascii_uppercase(),
            _ => name.to_owned(),
        };
        let line = random.one(LINES).replacen("{}", &spelled, 1);
        text.push_str(&line.replacen("{}", value, 1));
        list.push(name, value);
    }
    text.push_str("\r\n");
    let size = Scan::default().request(text.as_bytes(), &Limits::default(), head);
    assert_eq!(size, Ok(Some(text.len())), "{text:?}");
    headers.take_over(head, BytesMut::from(&*text));
    assert!(head.fields(text.as_bytes()).is_empty());
    list
}

fn check(headers: &Headers, list: &List) {
    assert_eq!(List::of(headers).sorted(), list.clone().sorted());
    assert_eq!(
        (headers.len(), headers.is_empty()),
        (list.0.len(), list.0.is_empty())
    );
    for name in NAMES {
        let (all, name) = (list.all(name), name_of(name));
        assert_eq!(headers.get_all(&name).collect::<Vec<_>>(), all);
        let mut backwards: Vec<_> = headers.get_all(&name).rev().collect();
        backwards.reverse();
        assert_eq!(backwards, all);
        assert_eq!(headers.spelled(name.as_str()).collect::<Vec<_>>(), all);
        let shouted = name.as_str().to_ascii_uppercase();
        assert_eq!(headers.spelled(&shouted).count(), 0);
        let first = all.first().copied();
        assert_eq!(headers.get(&name), first);
        let value = headers.value(&name);
        assert_eq!(value.as_ref().map(HeaderValue::as_bytes), first);
        assert_eq!(headers.contains_key(&name), first.is_some());
        assert_eq!(headers.is_repeated(&name), all.len() > 1);
        let text = first.and_then(|value| std::str::from_utf8(value).ok());
        let text = text.filter(|text| text.is_ascii());
        assert_eq!(headers.get_text(&name), text);
    }
    let is_there = list.0.iter().any(|(name, _)| name == "te");
    assert_eq!(headers.any_known(|known| known == Known::Te), is_there);
}

/// Changes both in one way.
fn change(random: &mut Random, headers: &mut Headers, list: &mut List) {
    let (name, value) = (random.one(NAMES), random.one(VALUES));
    match random.below(7) {
        0 => {
            headers.insert(name_of(name), value_of(value));
            list.remove(|other| other == name);
            list.push(name, value);
        }
        1 => {
            headers.lead(name_of(name), value_of(value));
            list.remove(|other| other == name);
            list.push(name, value);
        }
        2 => {
            let appended = headers.try_append(name_of(name), value_of(value));
            assert_eq!(appended, Ok(()));
            list.push(name, value);
        }
        3 => assert_eq!(
            headers.remove(name_of(name)),
            list.remove(|other| other == name)
        ),
        4 => {
            headers.remove_named(|other| other.starts_with(b"x-"));
            list.remove(|other| other.starts_with("x-"));
        }
        5 => {
            headers.remove_known(Known::is_hop_by_hop);
            list.remove(|other| ["connection", "te"].contains(&other));
        }
        _ => {
            let mut map = HeaderMap::new();
            headers.share_into(&mut Names::default(), &mut map).unwrap();
            assert_eq!(List::of(&map.into()).sorted(), list.clone().sorted());
        }
    }
}

#[test]
fn headers_are_a_list_whichever_they_are_kept_as() {
    let mut random = Random(1);
    // Used again for every head, as a worker does.
    let (mut head, mut spans) = (Head::default(), Headers::new());
    for _ in 0..2_000 {
        let mut list = read(&mut random, &mut head, &mut spans);
        assert_eq!(List::of(&spans), list, "in the order in which they came");
        let mut map = HeaderMap::new();
        spans.share_into(&mut Names::default(), &mut map).unwrap();
        let (mut map, mut list_of_map) = (Headers::from(map), list.clone());
        assert!(map.is_map() && !spans.is_map());
        check(&map, &list_of_map);
        for _ in 0..random.below(6) {
            check(&spans, &list);
            change(&mut random, &mut spans, &mut list);
            change(&mut random, &mut map, &mut list_of_map);
        }
        check(&spans, &list);
        check(&map, &list_of_map);
        assert!(spans.clone().try_into_map().is_err() && map.try_into_map().is_ok());
        if random.once_in(2) {
            spans.clear();
            check(&spans, &List::default());
        }
    }
}

#[test]
fn what_was_a_map_takes_a_head_over() {
    let (mut head, mut map) = (Head::default(), HeaderMap::new());
    map.insert(HOST, value_of("before"));
    let mut headers = Headers::from(map);
    let list = read(&mut Random(2), &mut head, &mut headers);
    assert!(!headers.is_map());
    check(&headers, &list);
}

#[test]
fn names_are_told_and_values_are_not() {
    let mut headers = Headers::new();
    headers.insert(ACCEPT, value_of("secret"));
    assert_eq!(format!("{headers:?}"), r#"["accept"]"#);
}
