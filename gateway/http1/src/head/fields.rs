//! Fields as spans: looked at in order, looked up by name.

use std::ops::Range;

use httparse::Header;

/// A part of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    at: u32,
    size: u32,
}

impl Place {
    /// Where `part` lies in `whole`; empty if it does not.
    pub(super) fn of_part(whole: &[u8], part: &[u8]) -> Self {
        let at = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        if at > whole.len() {
            return Self::default();
        }
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            at: number(at),
            size: number(part.len()),
        }
    }

    #[inline]
    fn end(self) -> usize {
        self.at as usize + self.size as usize
    }

    #[inline]
    pub(super) fn range(self) -> Range<usize> {
        self.at as usize..self.end()
    }

    #[inline]
    pub(super) fn of(self, whole: &[u8]) -> &[u8] {
        whole.get(self.range()).unwrap_or_default()
    }
}

/// One field, as spans of what it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    name: Place,
    value: Place,
    known: Known,
}

impl Span {
    pub(super) fn of(whole: &[u8], field: &Header<'_>) -> Self {
        Self {
            name: Place::of_part(whole, field.name.as_bytes()),
            value: Place::of_part(whole, field.value),
            known: Known::of(field.name.as_bytes()),
        }
    }

    /// Whether its line is written as we would write it: `name: value` and CRLF.
    pub(super) fn is_plain(self, whole: &[u8]) -> bool {
        self.value.at as usize == self.name.end() + 2
            && whole.get(self.name.end()..self.name.end() + 2) == Some(b": ")
            && whole.get(self.value.end()..self.value.end() + 2) == Some(b"\r\n")
    }

    /// Its line, if it [`is_plain`](Self::is_plain).
    pub(super) fn line(self) -> (usize, usize) {
        (self.name.at as usize, self.value.end() + 2)
    }

    #[inline]
    pub(crate) fn name(self, whole: &[u8]) -> &[u8] {
        self.name.of(whole)
    }

    /// Where its name lies.
    pub(crate) fn name_range(self) -> Range<usize> {
        self.name.range()
    }

    /// Whether its name is written so in `whole`.
    #[inline]
    pub(crate) fn is_named(self, whole: &[u8], name: &[u8]) -> bool {
        self.name.size as usize == name.len() && self.name.of(whole) == name
    }

    #[inline]
    pub(crate) fn known(self) -> Known {
        self.known
    }

    #[inline]
    pub(crate) fn value(self, whole: &[u8]) -> &[u8] {
        self.value.of(whole)
    }

    #[inline]
    pub(crate) fn field(self, whole: &[u8]) -> Field<'_> {
        Field {
            name: self.name.of(whole),
            value: self.value.of(whole),
            known: self.known,
        }
    }
}

/// A field that says something of the connection or of the framing, known without its name being
/// compared again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known {
    /// Any other field.
    Other,
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Expect`
    Expect,
    /// `Host`
    Host,
    /// `HTTP2-Settings`
    Http2Settings,
    /// `Keep-Alive`
    KeepAlive,
    /// `Proxy-Authenticate`
    ProxyAuthenticate,
    /// `Proxy-Authorization`
    ProxyAuthorization,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
}

impl Known {
    /// Which one a name is, in any spelling of upper and lower case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let Some(first) = name.first() else {
            return Self::Other;
        };
        // Length and first letter leave one to compare with.
        let known = match (name.len(), first.to_ascii_lowercase()) {
            (2, b't') => Self::Te,
            (4, b'h') => Self::Host,
            (6, b'e') => Self::Expect,
            (7, b't') => Self::Trailer,
            (7, b'u') => Self::Upgrade,
            (10, b'c') => Self::Connection,
            (10, b'k') => Self::KeepAlive,
            (14, b'c') => Self::ContentLength,
            (14, b'h') => Self::Http2Settings,
            (16, b'p') => Self::ProxyConnection,
            (17, b't') => Self::TransferEncoding,
            (18, b'p') => Self::ProxyAuthenticate,
            (19, b'p') => Self::ProxyAuthorization,
            _ => return Self::Other,
        };
        if name.eq_ignore_ascii_case(known.name().as_bytes()) {
            known
        } else {
            Self::Other
        }
    }

    /// Its name; empty for any other field.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "",
            Self::Connection => "connection",
            Self::ContentLength => "content-length",
            Self::Expect => "expect",
            Self::Host => "host",
            Self::Http2Settings => "http2-settings",
            Self::KeepAlive => "keep-alive",
            Self::ProxyAuthenticate => "proxy-authenticate",
            Self::ProxyAuthorization => "proxy-authorization",
            Self::ProxyConnection => "proxy-connection",
            Self::Te => "te",
            Self::Trailer => "trailer",
            Self::TransferEncoding => "transfer-encoding",
            Self::Upgrade => "upgrade",
        }
    }

    /// Whether it belongs to one connection, whatever `Connection` says (RFC 9110 §7.6.1).
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        !matches!(
            self,
            Self::Other | Self::ContentLength | Self::Expect | Self::Host | Self::Trailer
        )
    }

    /// Whether trailers may not say it: it would have had to be known before the body
    /// (RFC 9110 §6.5.1).
    #[must_use]
    pub const fn is_early(self) -> bool {
        !matches!(self, Self::Other)
    }
}

/// One field of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name, as it was written: a token.
    pub name: &'a [u8],
    /// Its value, without the white space around it.
    pub value: &'a [u8],
    /// What it is, if it is about the connection or the framing.
    pub known: Known,
}

impl Field<'_> {
    /// Whether this is its name, in any spelling of upper and lower case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a head, in their order.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    input: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(input: &'a [u8], spans: &'a [Span]) -> Self {
        Self { input, spans }
    }

    pub(super) fn parts(self) -> (&'a [u8], &'a [Span]) {
        (self.input, self.spans)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All, in their order.
    #[must_use]
    pub fn iter(&self) -> Iter<'a> {
        Iter {
            input: self.input,
            spans: self.spans.iter(),
        }
    }

    /// The values of a field, in their order. The name is compared without regard to case.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.iter()
            .filter(move |field| field.is(name))
            .map(|field| field.value)
    }

    /// The first value of a field. The name is compared without regard to case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of a known field, in their order.
    pub fn known(&self, known: Known) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let input = self.input;
        self.spans
            .iter()
            .filter(move |span| span.known == known)
            .map(move |span| span.value.of(input))
    }

    /// The known fields, in their order.
    pub(crate) fn about_connection(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let input = self.input;
        self.spans
            .iter()
            .filter(|span| span.known != Known::Other)
            .map(move |span| span.field(input))
    }

    /// The members of a known field that is a list (RFC 9110 §5.6.1), in their order: white space
    /// around them taken off, empty ones left out.
    pub fn members(&self, known: Known) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.known(known)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(trim)
            .filter(|member| !member.is_empty())
    }
}

impl<'a> IntoIterator for Fields<'a> {
    type Item = Field<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The fields of a head, one after the other.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    input: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        self.spans.next().map(|span| span.field(self.input))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Takes spaces and tabs off both ends (RFC 9110 §5.6.3).
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = value.iter().position(|byte| !is_blank(byte)) else {
        return b"";
    };
    let last = value.iter().rposition(|byte| !is_blank(byte));
    value.get(first..=last.unwrap_or(first)).unwrap_or_default()
}
