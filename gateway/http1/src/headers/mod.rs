//! The headers of a message on its way from one connection to another.
//!
//! Those that came over HTTP/1.1 stay spans of the head they were read from: they are looked up where
//! they lie, what is removed is struck out, what is ours stands beside them, and who writes them copies
//! what is left. Those that HTTP/2 brought are the map that it made of them. Both are asked and changed
//! alike, so that nothing that judges a message knows which it has.
//!
//! Owns that names are in lower case wherever they came from: those of a head are made so where they
//! lie. What may stand in a head is `head`'s, and which headers cross a gateway is the caller's.

use std::borrow::Borrow;
use std::fmt;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::convert::{append, share};
use crate::head::{Field, Fields, Head, HeadError, Known, Span, Writer};
use crate::names::Names;

/// The headers of one message. A name may stand in them several times.
///
/// ```
/// use bytes::BytesMut;
/// use http::header::{ACCEPT, HOST, HeaderValue};
/// use http1::{Head, Headers, Limits, Scan};
///
/// let came = BytesMut::from("GET / HTTP/1.1\r\nHOST: a.example\r\nAccept: */*\r\n\r\n");
/// let (mut head, mut headers) = (Head::default(), Headers::new());
/// Scan::default().request(&came, &Limits::default(), &mut head)?;
/// headers.take_over(&mut head, came);
/// assert_eq!(headers.get(HOST), Some(&b"a.example"[..]));
/// headers.insert(ACCEPT, HeaderValue::from_static("text/html"));
/// let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
/// assert_eq!(names, [b"host".as_slice(), b"accept"]);
/// # Ok::<(), http1::HeadError>(())
/// ```
#[derive(Clone)]
pub struct Headers(Kept);

#[derive(Clone)]
enum Kept {
    Spans(Spans),
    Map(HeaderMap),
}

#[derive(Clone, Default)]
struct Spans {
    /// What the head was read from, with its names in lower case.
    input: Bytes,
    /// What of it is left.
    came: Vec<Span>,
    /// Behind that, what was added.
    ours: Vec<(HeaderName, HeaderValue)>,
    /// But for the first of it, which stands before all.
    leads: bool,
}

impl Default for Headers {
    fn default() -> Self {
        Self(Kept::Spans(Spans::default()))
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        Self(Kept::Map(map))
    }
}

impl Headers {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Becomes the headers of a head that was read from `input`, and forgets what was there. The head
    /// is left without fields: their spans are here then. Answers what the head was read from, in
    /// which names are in lower case now.
    pub fn take_over(&mut self, head: &mut Head, mut input: BytesMut) -> Bytes {
        for span in head.spans() {
            if let Some(name) = input.get_mut(span.name_range()) {
                name.make_ascii_lowercase();
            }
        }
        let input = input.freeze();
        let mut spans = match std::mem::replace(&mut self.0, Kept::Spans(Spans::default())) {
            Kept::Spans(spans) => spans,
            Kept::Map(_) => Spans::default(),
        };
        head.swap_spans(&mut spans.came);
        spans.ours.clear();
        spans.leads = false;
        spans.input = input.clone();
        self.0 = Kept::Spans(spans);
        input
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Kept::Map(map) => map.clear(),
            Kept::Spans(spans) => {
                spans.input = Bytes::new();
                spans.came.clear();
                spans.ours.clear();
                spans.leads = false;
            }
        }
    }

    /// For how many headers there is memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.0 {
            Kept::Map(map) => map.capacity(),
            Kept::Spans(spans) => spans.came.capacity().max(spans.ours.capacity()),
        }
    }

    /// Whether HTTP/2 brought them.
    #[must_use]
    pub fn is_map(&self) -> bool {
        matches!(self.0, Kept::Map(_))
    }

    /// The map, if HTTP/2 brought one.
    ///
    /// # Errors
    /// These are spans.
    pub fn try_into_map(self) -> Result<HeaderMap, Self> {
        match self.0 {
            Kept::Map(map) => Ok(map),
            Kept::Spans(_) => Err(self),
        }
    }

    /// Appends all to a map, whose values share the memory of what they came in; names are those of
    /// `names`, where they have come before.
    ///
    /// # Errors
    /// They are too many for a map.
    pub fn share_into(&self, names: &mut Names, map: &mut HeaderMap) -> Result<(), HeadError> {
        let spans = match &self.0 {
            Kept::Spans(spans) => spans,
            Kept::Map(all) => {
                let mut all = all.iter();
                return all.try_for_each(|(name, value)| append(map, name.clone(), value.clone()));
            }
        };
        let came = Fields::new(&spans.input, &spans.came);
        share(came, &spans.input, map, |name| names.of(name))?;
        let mut ours = spans.ours.iter();
        ours.try_for_each(|(name, value)| append(map, name.clone(), value.clone()))
    }

    /// How many there are; one that stands there several times counts each time.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Map(map) => map.len(),
            Kept::Spans(spans) => spans.came.len() + spans.ours.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names and values, as they came and then what was added; of a map in its order.
    #[must_use]
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter(match &self.0 {
            Kept::Map(map) => Pairs::Map(map.iter()),
            Kept::Spans(spans) => Pairs::Spans {
                input: &spans.input,
                came: spans.came.iter(),
                ours: spans.ours.iter(),
            },
        })
    }

    /// The values of a header, in their order.
    #[must_use]
    #[inline]
    pub fn get_all<'a, 'n>(&'a self, name: &'n HeaderName) -> Values<'a, 'n> {
        Values(match &self.0 {
            Kept::Map(map) => Found::Map(map.get_all(name).iter()),
            Kept::Spans(spans) => spans.all(name.as_str()),
        })
    }

    /// The values of the header that is spelled so, in their order. Names are in lower case here.
    #[must_use]
    pub fn spelled<'a, 'n>(&'a self, name: &'n str) -> Values<'a, 'n> {
        Values(match &self.0 {
            // It would find other spellings.
            Kept::Map(_) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => Found::Nothing,
            Kept::Map(map) => Found::Map(map.get_all(name).iter()),
            Kept::Spans(spans) => spans.all(name),
        })
    }

    /// The first value of a header.
    #[must_use]
    #[inline]
    pub fn get(&self, name: impl Borrow<HeaderName>) -> Option<&[u8]> {
        match &self.0 {
            Kept::Map(map) => map.get(name.borrow()).map(HeaderValue::as_bytes),
            Kept::Spans(spans) => spans.first(name.borrow().as_str().as_bytes()),
        }
    }

    /// The first value of a header, as text; `None` too where it is not visible ASCII.
    #[must_use]
    pub fn get_text(&self, name: impl Borrow<HeaderName>) -> Option<&str> {
        let value = self.get(name)?;
        let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
        let value = value.iter().all(is_text).then_some(value)?;
        std::str::from_utf8(value).ok()
    }

    /// The first value of a header, in the memory that it came in.
    #[must_use]
    #[inline]
    pub fn value(&self, name: impl Borrow<HeaderName>) -> Option<HeaderValue> {
        let name = name.borrow();
        let spans = match &self.0 {
            Kept::Map(map) => return map.get(name).cloned(),
            Kept::Spans(spans) => spans,
        };
        let wanted = name.as_str().as_bytes();
        match spans.came_first(wanted) {
            Some(came) => HeaderValue::from_maybe_shared(spans.input.slice_ref(came)).ok(),
            None => spans.ours_first(wanted).cloned(),
        }
    }

    /// Whether a header is there.
    #[must_use]
    #[inline]
    pub fn contains_key(&self, name: impl Borrow<HeaderName>) -> bool {
        match &self.0 {
            Kept::Map(map) => map.contains_key(name.borrow()),
            Kept::Spans(spans) => spans.first(name.borrow().as_str().as_bytes()).is_some(),
        }
    }

    /// Whether a header is there more than once.
    #[must_use]
    pub fn is_repeated(&self, name: &HeaderName) -> bool {
        self.get_all(name).nth(1).is_some()
    }

    /// Whether any is of this kind.
    pub fn any_known(&self, mut is_of_kind: impl FnMut(Known) -> bool) -> bool {
        let mut known = |name: &HeaderName| is_of_kind(Known::of(name.as_str().as_bytes()));
        match &self.0 {
            Kept::Map(map) => map.keys().any(known),
            Kept::Spans(spans) => {
                spans.ours.iter().any(|(name, _)| known(name))
                    || spans.came.iter().any(|span| is_of_kind(span.known()))
            }
        }
    }

    /// Removes a header in all its places, and says it once.
    #[inline]
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        match &mut self.0 {
            Kept::Map(map) => {
                map.insert(name, value);
            }
            Kept::Spans(spans) => {
                spans.remove(name.as_str().as_bytes());
                spans.ours.push((name, value));
            }
        }
    }

    /// Says a header once, and before all others: `Host`, which recipients would have there (RFC 9110
    /// §7.2). One that says just that already stays where it is; a map has no first place.
    pub fn lead(&mut self, name: HeaderName, value: HeaderValue) {
        match &mut self.0 {
            Kept::Map(map) => {
                map.insert(name, value);
            }
            Kept::Spans(spans) => {
                let mut said = spans.all(name.as_str());
                if said.next() == Some(value.as_bytes()) && said.next().is_none() {
                    return;
                }
                spans.remove(name.as_str().as_bytes());
                spans.ours.insert(0, (name, value));
                spans.leads = true;
            }
        }
    }

    /// Says a header behind what is there of it.
    ///
    /// # Errors
    /// A map has no room for more.
    #[inline]
    pub fn try_append(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), HeadError> {
        match &mut self.0 {
            Kept::Map(map) => append(map, name, value),
            Kept::Spans(spans) => {
                spans.ours.push((name, value));
                Ok(())
            }
        }
    }

    /// Removes a header in all its places. Answers whether it was there.
    #[inline]
    pub fn remove(&mut self, name: impl Borrow<HeaderName>) -> bool {
        match &mut self.0 {
            Kept::Map(map) => map.remove(name.borrow()).is_some(),
            Kept::Spans(spans) => spans.remove(name.borrow().as_str().as_bytes()),
        }
    }

    /// Removes every header of a name that `is_out` says of.
    pub fn remove_named(&mut self, is_out: impl Fn(&[u8]) -> bool) {
        match &mut self.0 {
            Kept::Map(map) => remove_of(map, |name| is_out(name.as_str().as_bytes())),
            Kept::Spans(spans) => {
                let Spans { input, came, .. } = spans;
                came.retain(|span| !is_out(span.name(input)));
                spans.retain_ours(|name| !is_out(name.as_str().as_bytes()));
            }
        }
    }

    /// Removes every header of a kind.
    pub fn remove_known(&mut self, is_of_kind: impl Fn(Known) -> bool) {
        let is_out = |name: &HeaderName| is_of_kind(Known::of(name.as_str().as_bytes()));
        match &mut self.0 {
            Kept::Map(map) => remove_of(map, is_out),
            Kept::Spans(spans) => {
                spans.came.retain(|span| !is_of_kind(span.known()));
                spans.retain_ours(|name| !is_out(name));
            }
        }
    }
}

fn remove_of(map: &mut HeaderMap, is_out: impl Fn(&HeaderName) -> bool) {
    // Nearly never is there any, and then no memory is asked for.
    let out: Vec<HeaderName> = map.keys().filter(|name| is_out(name)).cloned().collect();
    for name in out {
        map.remove(name);
    }
}

impl Spans {
    fn all<'a, 'n>(&'a self, name: &'n str) -> Found<'a, 'n> {
        Found::Spans {
            name: name.as_bytes(),
            input: &self.input,
            came: self.came.iter(),
            ours: self.ours.iter(),
        }
    }

    fn first(&self, name: &[u8]) -> Option<&[u8]> {
        let ours = || self.ours_first(name).map(HeaderValue::as_bytes);
        self.came_first(name).or_else(ours)
    }

    fn came_first(&self, name: &[u8]) -> Option<&[u8]> {
        let mut came = self.came.iter();
        let found = came.find(|span| span.is_named(&self.input, name));
        found.map(|span| span.value(&self.input))
    }

    fn ours_first(&self, name: &[u8]) -> Option<&HeaderValue> {
        let mut ours = self.ours.iter();
        let found = ours.find(|(ours, _)| ours.as_str().as_bytes() == name);
        found.map(|(_, value)| value)
    }

    fn remove(&mut self, name: &[u8]) -> bool {
        let Self { input, came, .. } = self;
        let before = came.len();
        came.retain(|span| !span.is_named(input, name));
        let was_there = came.len() < before;
        self.retain_ours(|ours| ours.as_str().as_bytes() != name) || was_there
    }

    /// Answers whether any is gone.
    fn retain_ours(&mut self, stays: impl Fn(&HeaderName) -> bool) -> bool {
        let before = self.ours.len();
        self.leads = self.leads && self.ours.first().is_some_and(|(name, _)| stays(name));
        self.ours.retain(|(name, _)| stays(name));
        self.ours.len() < before
    }
}

/// Names and values of headers.
#[derive(Debug)]
pub struct Iter<'a>(Pairs<'a>);

#[derive(Debug)]
enum Pairs<'a> {
    Spans {
        input: &'a [u8],
        came: std::slice::Iter<'a, Span>,
        ours: std::slice::Iter<'a, (HeaderName, HeaderValue)>,
    },
    Map(http::header::Iter<'a, HeaderValue>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = match &mut self.0 {
            Pairs::Map(map) => map.next()?,
            Pairs::Spans { input, came, ours } => match came.next() {
                Some(span) => return Some((span.name(input), span.value(input))),
                None => ours.next().map(|(name, value)| (name, value))?,
            },
        };
        Some((name.as_str().as_bytes(), value.as_bytes()))
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The values of one header.
#[derive(Debug)]
pub struct Values<'a, 'n>(Found<'a, 'n>);

#[derive(Debug)]
enum Found<'a, 'n> {
    Spans {
        name: &'n [u8],
        input: &'a [u8],
        came: std::slice::Iter<'a, Span>,
        ours: std::slice::Iter<'a, (HeaderName, HeaderValue)>,
    },
    Map(http::header::ValueIter<'a, HeaderValue>),
    Nothing,
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next()
    }
}

impl<'a> Found<'a, '_> {
    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Found::Spans {
                name,
                input,
                came,
                ours,
            } => match came.find(|span| span.is_named(input, name)) {
                Some(span) => Some(span.value(input)),
                None => {
                    let found = ours.find(|(ours, _)| ours.as_str().as_bytes() == *name);
                    found.map(|(_, value)| value.as_bytes())
                }
            },
            Found::Map(values) => values.next().map(HeaderValue::as_bytes),
            Found::Nothing => None,
        }
    }
}

impl DoubleEndedIterator for Values<'_, '_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Found::Spans {
                name,
                input,
                came,
                ours,
            } => {
                let ours = ours.rfind(|(ours, _)| ours.as_str().as_bytes() == *name);
                if let Some((_, value)) = ours {
                    return Some(value.as_bytes());
                }
                let came = came.rfind(|span| span.is_named(input, name));
                came.map(|span| span.value(input))
            }
            Found::Map(values) => values.next_back().map(HeaderValue::as_bytes),
            Found::Nothing => None,
        }
    }
}

fn field<'a>(name: &'a HeaderName, value: &'a HeaderValue) -> Field<'a> {
    Field {
        name: name.as_str().as_bytes(),
        value: value.as_bytes(),
        known: Known::of(name.as_str().as_bytes()),
    }
}

/// Says which headers are to be written.
pub type Keep<'k> = &'k mut dyn FnMut(&Field<'_>) -> bool;

/// Headers that a head can be written from.
pub trait Written {
    /// Writes those that are to be kept.
    fn write(&self, writer: &mut Writer<'_>, keep: Keep<'_>);

    /// The first value of a known header.
    fn known(&self, known: Known) -> Option<&[u8]>;
}

impl Written for HeaderMap {
    fn write(&self, writer: &mut Writer<'_>, keep: Keep<'_>) {
        for (name, value) in self {
            if keep(&field(name, value)) {
                writer.header(name, value);
            }
        }
    }

    fn known(&self, known: Known) -> Option<&[u8]> {
        self.get(known.name()).map(HeaderValue::as_bytes)
    }
}

impl Written for Headers {
    fn write(&self, writer: &mut Writer<'_>, keep: Keep<'_>) {
        match &self.0 {
            Kept::Map(map) => map.write(writer, keep),
            Kept::Spans(Spans {
                input,
                came,
                ours,
                leads,
            }) => {
                let (first, ours) = ours.split_at(usize::from(*leads).min(ours.len()));
                write(first, writer, keep);
                writer.copy(Fields::new(input, came), &mut *keep);
                write(ours, writer, keep);
            }
        }
    }

    fn known(&self, known: Known) -> Option<&[u8]> {
        match &self.0 {
            Kept::Map(map) => map.known(known),
            Kept::Spans(Spans {
                input, came, ours, ..
            }) => Fields::new(input, came).known(known).next().or_else(|| {
                let mut ours = ours.iter();
                let found = ours.find(|(name, _)| name.as_str() == known.name());
                found.map(|(_, value)| value.as_bytes())
            }),
        }
    }
}

fn write(all: &[(HeaderName, HeaderValue)], writer: &mut Writer<'_>, keep: Keep<'_>) {
    for (name, value) in all {
        if keep(&field(name, value)) {
            writer.header(name, value);
        }
    }
}

/// Names alone: what headers say is the client's.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|(name, _)| name.escape_ascii());
        f.debug_list()
            .entries(names.map(|name| name.to_string()))
            .finish()
    }
}

#[cfg(test)]
mod tests;
