//! Bytes as lower-case hexadecimal digits.

/// Lower-case hex.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

/// Bytes of any number of pairs of digits.
#[must_use]
pub(crate) fn unhex_any(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| std::str::from_utf8(pair).ok().and_then(unhex::<1>);
    pairs.map(|pair| byte(pair).map(|[byte]| byte)).collect()
}

/// Bytes of as many pairs of digits.
#[must_use]
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut pairs = text.as_bytes().chunks(2);
    for byte in &mut bytes {
        let pair = std::str::from_utf8(pairs.next()?).ok()?;
        let is_pair = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(pair, 16).ok().filter(|_| is_pair)?;
    }
    pairs.next().is_none().then_some(bytes)
}
