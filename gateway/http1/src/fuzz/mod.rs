//! What the fuzz targets `http1_*` check; ordinary tests replay their corpora, and generate more.
//!
//! Takes any bytes and panics when a promise is broken. Compiled for fuzzing and tests only.

pub(crate) mod client;
#[cfg(test)]
mod differential;
mod passing;
#[cfg(test)]
pub(crate) mod random;
#[cfg(test)]
mod requests;
pub(crate) mod server;
#[cfg(test)]
mod streams;

use crate::head::{Fields, Head, Scan, Writer};
use crate::limits::Limits;

/// Small enough that inputs reach every bound.
pub(crate) const SMALL: Limits = Limits {
    head_bytes_max: 512,
    fields_max: 12,
    target_bytes_max: 200,
    chunk_extension_bytes_max: 24,
    trailer_bytes_max: 96,
    interim_max: 3,
};

/// Names and values, as they were written.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) fn pairs(fields: Fields<'_>) -> Pairs {
    let pair = |field: crate::Field<'_>| (field.name.to_vec(), field.value.to_vec());
    fields.iter().map(pair).collect()
}

/// An answer's head, its body and what follows: no panic; the same events however the bytes are cut;
/// a head that is written again reads the same.
pub fn client_head(data: &[u8]) {
    let Some((mode, stream)) = data.split_first() else {
        return;
    };
    client::check(*mode, stream);
}

/// Fields that were read are written and read again, and mean the same.
pub(crate) fn check_rewritten(input: &[u8], head: &Head) {
    let mut out = Vec::new();
    let status = http::StatusCode::from_u16(head.status()).expect("100 to 999");
    let mut writer = Writer::response(&mut out, status);
    writer.copy(head.fields(input), |_| true);
    writer.end();
    let mut again = Head::default();
    let limits = Limits {
        head_bytes_max: usize::MAX,
        ..Limits::default()
    };
    let size = Scan::default().response(&out, &limits, &mut again);
    assert_eq!(size, Ok(Some(out.len())), "{out:?}");
    assert_eq!(pairs(again.fields(&out)), pairs(head.fields(input)));
}

/// Requests of one connection, their bodies and what is behind them: no panic; the same events and
/// the same answers however the bytes are cut.
pub fn server_head(data: &[u8]) {
    let Some((mode, stream)) = data.split_first() else {
        return;
    };
    server::check(*mode, stream);
}

/// A chunked body: no panic; the same data however the bytes are cut; data that is sent again reads
/// the same.
pub fn chunked(data: &[u8]) {
    passing::check_chunked(data);
}

/// Requests that are passed on to an origin, and an answer that is passed on to a client: the other
/// side reads what was seen here, in number, target and body. The bytes are divided at the first
/// 0xfe.
pub fn connection(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0xfe);
    let (requests, answer) = (parts.next(), parts.next());
    passing::check_connection(requests.unwrap_or_default(), answer.unwrap_or_default());
}

#[cfg(test)]
mod tests;
