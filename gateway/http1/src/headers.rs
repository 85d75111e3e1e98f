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

use crate::convert::append;
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
/// let names: Vec<_> = headers.iter().map(|field| field.name).collect();
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

/// What there is to look through: of spans and what was added, or of a map, the other is empty.
struct All<'a> {
    input: &'a [u8],
    came: &'a [Span],
    ours: &'a [(HeaderName, HeaderValue)],
    map: Option<&'a HeaderMap>,
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
        for field in Fields::new(&spans.input, &spans.came) {
            let value = HeaderValue::from_maybe_shared(spans.input.slice_ref(field.value));
            let value = value.map_err(|_invalid| HeadError::Control)?;
            append(map, names.of(field.name)?, value)?;
        }
        let mut ours = spans.ours.iter();
        ours.try_for_each(|(name, value)| append(map, name.clone(), value.clone()))
    }

    fn all(&self) -> All<'_> {
        match &self.0 {
            Kept::Spans(Spans {
                input, came, ours, ..
            }) => All {
                input,
                came,
                ours,
                map: None,
            },
            Kept::Map(map) => All {
                input: &[],
                came: &[],
                ours: &[],
                map: Some(map),
            },
        }
    }

    /// How many there are; one that stands there several times counts each time.
    #[must_use]
    pub fn len(&self) -> usize {
        let all = self.all();
        all.came.len() + all.ours.len() + all.map.map_or(0, HeaderMap::len)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, as they came and then what was added; of a map in its order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        let All {
            input,
            came,
            ours,
            map,
        } = self.all();
        let of_map = map.into_iter().flatten();
        let others = ours.iter().map(|(name, value)| (name, value));
        Fields::new(input, came)
            .iter()
            .chain(others.chain(of_map).map(|(name, value)| field(name, value)))
    }

    /// The values of a header, in their order.
    pub fn get_all<'a, 'n>(
        &'a self,
        name: &'n HeaderName,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, 'n> {
        let All {
            input,
            came,
            ours,
            map,
        } = self.all();
        let of_map = map.map(|map| map.get_all(name).iter());
        came.iter()
            .filter(move |span| span.is_named(input, name.as_str().as_bytes()))
            .map(move |span| span.value(input))
            .chain(
                ours.iter()
                    .filter(move |(other, _)| other == name)
                    .map(|(_, value)| value)
                    .chain(of_map.into_iter().flatten())
                    .map(HeaderValue::as_bytes),
            )
    }

    /// The values of the header that is spelled so, in their order. Names are in lower case here.
    pub fn spelled<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let All {
            input,
            came,
            ours,
            map,
        } = self.all();
        let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
        let of_map = map.filter(|_| is_lower).map(|map| map.get_all(name).iter());
        came.iter()
            .filter(move |span| span.is_named(input, name.as_bytes()))
            .map(move |span| span.value(input))
            .chain(
                ours.iter()
                    .filter(move |(other, _)| other.as_str() == name)
                    .map(|(_, value)| value)
                    .chain(of_map.into_iter().flatten())
                    .map(HeaderValue::as_bytes),
            )
    }

    /// The first value of a header.
    #[must_use]
    pub fn get(&self, name: impl Borrow<HeaderName>) -> Option<&[u8]> {
        self.get_all(name.borrow()).next()
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
    pub fn value(&self, name: impl Borrow<HeaderName>) -> Option<HeaderValue> {
        let name = name.borrow();
        let Spans {
            input, came, ours, ..
        } = match &self.0 {
            Kept::Map(map) => return map.get(name).cloned(),
            Kept::Spans(spans) => spans,
        };
        let wanted = name.as_str().as_bytes();
        match came.iter().find(|span| span.is_named(input, wanted)) {
            Some(span) => HeaderValue::from_maybe_shared(input.slice_ref(span.value(input))).ok(),
            None => {
                let mut ours = ours.iter();
                let found = ours.find(|(other, _)| other == name);
                found.map(|(_, value)| value.clone())
            }
        }
    }

    /// Whether a header is there.
    #[must_use]
    pub fn contains_key(&self, name: impl Borrow<HeaderName>) -> bool {
        self.get(name).is_some()
    }

    /// Whether any is of this kind.
    pub fn any_known(&self, mut is_of_kind: impl FnMut(Known) -> bool) -> bool {
        let All {
            came, ours, map, ..
        } = self.all();
        let mut of_map = map.into_iter().flat_map(HeaderMap::keys);
        let mut ours = ours.iter().map(|(name, _)| name);
        let known = |name: &HeaderName| Known::of(name.as_str().as_bytes());
        came.iter().any(|span| is_of_kind(span.known()))
            || ours.any(|name| is_of_kind(known(name)))
            || of_map.any(|name| is_of_kind(known(name)))
    }

    /// Removes a header in all its places, and says it once.
    pub fn insert(&mut self, name: impl Borrow<HeaderName>, value: HeaderValue) {
        let name = name.borrow();
        match &mut self.0 {
            Kept::Map(map) => {
                map.insert(name.clone(), value);
            }
            Kept::Spans(spans) => {
                spans.remove(name);
                spans.ours.push((name.clone(), value));
            }
        }
    }

    /// Says a header once, and before all others: `Host`, which recipients would have there (RFC 9110
    /// §7.2). One that says just that already stays where it is.
    pub fn lead(&mut self, name: impl Borrow<HeaderName>, value: HeaderValue) {
        let name = name.borrow();
        let mut said = self.get_all(name);
        if said.next() == Some(value.as_bytes()) && said.next().is_none() {
            return;
        }
        drop(said);
        match &mut self.0 {
            Kept::Map(map) => {
                map.insert(name.clone(), value);
            }
            Kept::Spans(spans) => {
                spans.remove(name);
                spans.ours.insert(0, (name.clone(), value));
                spans.leads = true;
            }
        }
    }

    /// Says a header behind what is there of it.
    ///
    /// # Errors
    /// A map has no room for more.
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
    pub fn remove(&mut self, name: impl Borrow<HeaderName>) -> bool {
        match &mut self.0 {
            Kept::Map(map) => map.remove(name.borrow()).is_some(),
            Kept::Spans(spans) => spans.remove(name.borrow()),
        }
    }

    /// Removes every header that `is_out` says of, by its name and what it is known as.
    pub fn remove_all(&mut self, is_out: impl Fn(&[u8], Known) -> bool) {
        let is_out_here = |name: &HeaderName| {
            let name = name.as_str().as_bytes();
            is_out(name, Known::of(name))
        };
        match &mut self.0 {
            Kept::Spans(spans) => {
                let Spans { input, came, .. } = spans;
                came.retain(|span| !is_out(span.field(input).name, span.known()));
                spans.retain_ours(|name| !is_out_here(name));
            }
            Kept::Map(map) => {
                // Nearly never is there any, and then no memory is asked for.
                let out = map.keys().filter(|name| is_out_here(name));
                let out: Vec<HeaderName> = out.cloned().collect();
                for name in out {
                    map.remove(name);
                }
            }
        }
    }
}

impl Spans {
    fn remove(&mut self, name: &HeaderName) -> bool {
        let Self { input, came, .. } = self;
        let before = came.len();
        let wanted = name.as_str().as_bytes();
        came.retain(|span| !span.is_named(input, wanted));
        let was_there = came.len() < before;
        self.retain_ours(|other| other != name) || was_there
    }

    /// Answers whether any is gone.
    fn retain_ours(&mut self, stays: impl Fn(&HeaderName) -> bool) -> bool {
        let before = self.ours.len();
        self.leads = self.leads && self.ours.first().is_some_and(|(name, _)| stays(name));
        self.ours.retain(|(name, _)| stays(name));
        self.ours.len() < before
    }
}

fn field<'a>(name: &'a HeaderName, value: &'a HeaderValue) -> Field<'a> {
    Field {
        name: name.as_str().as_bytes(),
        value: value.as_bytes(),
        known: Known::of(name.as_str().as_bytes()),
    }
}

/// Headers that a head can be written from.
pub trait Written {
    /// Writes those that are to be kept.
    fn write(&self, writer: &mut Writer<'_>, keep: impl FnMut(&Field<'_>) -> bool);

    /// The first value of a known header.
    fn known(&self, known: Known) -> Option<&[u8]>;
}

impl Written for HeaderMap {
    fn write(&self, writer: &mut Writer<'_>, mut keep: impl FnMut(&Field<'_>) -> bool) {
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
    fn write(&self, writer: &mut Writer<'_>, mut keep: impl FnMut(&Field<'_>) -> bool) {
        match &self.0 {
            Kept::Map(map) => map.write(writer, keep),
            Kept::Spans(Spans {
                input,
                came,
                ours,
                leads,
            }) => {
                let (first, ours) = ours.split_at(usize::from(*leads).min(ours.len()));
                write(first, writer, &mut keep);
                writer.copy(Fields::new(input, came), &mut keep);
                write(ours, writer, &mut keep);
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

fn write(
    all: &[(HeaderName, HeaderValue)],
    writer: &mut Writer<'_>,
    keep: &mut impl FnMut(&Field<'_>) -> bool,
) {
    for (name, value) in all {
        if keep(&field(name, value)) {
            writer.header(name, value);
        }
    }
}

/// Names alone: what headers say is the client's.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|field| field.name.escape_ascii());
        f.debug_list()
            .entries(names.map(|name| name.to_string()))
            .finish()
    }
}
