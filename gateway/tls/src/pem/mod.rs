//! PEM: the one reader and the one writer of it (RFC 7468, and the files that people have).
//!
//! Takes what differs in form only: a byte order mark, any line ends, comments and bag attributes
//! between blocks, blanks before a line, two blocks without a line end between them, the labels of
//! older tools. Nothing is left out in silence: what begins like a block and is none, or is of a
//! kind that is not wanted, is an error with its line. Owns the text; what a certificate, key or
//! list must be is its user's.

mod error;
mod form;
mod trusted;
mod typed;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::error::{PemError, Problem};
pub use self::form::Form;
use self::form::form_of;
use self::trusted::TrustSettings;
pub use self::typed::{
    Lists, Use, certificate, certificates, lists, name, private_key, request, subject, subjects,
};
use crate::der::{Reader, tag};

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What its content is, by its structure.
    pub form: Form,
    /// As it is written, without `BEGIN`.
    pub label: String,
    /// The line of its beginning, from 1.
    pub line: usize,
    /// Its content; empty when it is encrypted as a text (RFC 1421).
    pub der: Vec<u8>,
    /// What OpenSSL wrote behind a `TRUSTED CERTIFICATE`.
    trust: TrustSettings,
}

/// All blocks of a text.
///
/// # Errors
/// The first that cannot be taken, or that there is none.
pub fn read(text: &[u8]) -> Result<Vec<Block>, PemError> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Err(PemError::whole(Problem::Empty));
    }
    if matches!(text, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Err(PemError::whole(Problem::Utf16));
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Open> = None;
    for (line, text) in lines(text) {
        if let (b"" | b"\r", Some(open)) = (text, &mut open) {
            open.in_headers = false;
        }
        for part in Parts(text) {
            let place = blocks.len() + 1;
            match (part, open.take()) {
                (Part::Begin(label), None) => open = Some(Open::new(label, line, place)),
                (Part::Begin(_), Some(before)) => return Err(before.error(Problem::NoEnd)),
                (Part::End(label), Some(found)) => blocks.push(found.finish(label)?),
                (Part::End(label), None) => {
                    return Err(PemError::at(line, Problem::EndAlone(label.into())));
                }
                (Part::Text(text), Some(mut found)) => {
                    found.take(text, line)?;
                    open = Some(found);
                }
                (Part::Text(text), None) if is_broken_marker(text) => {
                    return Err(PemError::at(line, Problem::Marker(shown(text))));
                }
                (Part::Text(_), None) => {}
            }
        }
    }
    if let Some(open) = open {
        return Err(open.error(Problem::NoEnd));
    }
    if blocks.is_empty() {
        let problem = form_of(text).map_or(Problem::NoBlock, Problem::Der);
        return Err(PemError::whole(problem));
    }
    Ok(blocks)
}

/// Whether a text is meant as PEM.
#[must_use]
pub fn is_meant(text: &[u8]) -> bool {
    let is_marker = |word: &[u8]| text.windows(word.len()).any(|found| found == word);
    is_marker(b"-BEGIN ")
}

/// One block of PEM, in lines of 64 (RFC 7468 §2).
#[must_use]
pub fn write(label: &str, der: &[u8]) -> String {
    let digits = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

impl Block {
    /// The block alone, under the label that everyone reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let label = match self.form {
            Form::Certificate => "CERTIFICATE",
            Form::List => "X509 CRL",
            Form::Request => "CERTIFICATE REQUEST",
            Form::PrivateKey => form::key_label(&self.der),
            _ => &self.label,
        };
        write(label, &self.der)
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const DASHES: &[u8] = b"-----";

/// The lines with their numbers; files of old Macs have carriage returns alone.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let end = if text.contains(&b'\n') { b'\n' } else { b'\r' };
    let lines = text.split(move |byte| *byte == end);
    lines.enumerate().map(|(place, line)| (place + 1, line))
}

enum Part<'t> {
    Begin(&'t str),
    End(&'t str),
    Text(&'t [u8]),
}

/// The markers in a line, and what is between them.
struct Parts<'t>(&'t [u8]);

impl<'t> Iterator for Parts<'t> {
    type Item = Part<'t>;

    fn next(&mut self) -> Option<Part<'t>> {
        if self.0.is_empty() {
            return None;
        }
        for place in 0..self.0.len() {
            let (before, rest) = self.0.split_at(place);
            let Some((part, after)) = marker(rest) else {
                continue;
            };
            if !before.is_empty() {
                self.0 = rest;
                return Some(Part::Text(before));
            }
            self.0 = after;
            return Some(part);
        }
        Some(Part::Text(std::mem::take(&mut self.0)))
    }
}

fn marker(text: &[u8]) -> Option<(Part<'_>, &[u8])> {
    let rest = text.strip_prefix(DASHES)?;
    let (begins, rest) = match (rest.strip_prefix(b"BEGIN "), rest.strip_prefix(b"END ")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return None,
    };
    let size = rest
        .windows(DASHES.len())
        .position(|found| found == DASHES)?;
    let (label, after) = rest.split_at_checked(size)?;
    let label = std::str::from_utf8(label).ok().filter(|label| {
        let fits =
            |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" #".contains(&byte);
        !label.is_empty() && label.bytes().all(fits)
    })?;
    let part = if begins {
        Part::Begin(label)
    } else {
        Part::End(label)
    };
    Some((part, after.strip_prefix(DASHES)?))
}

/// Whether a line that has no marker was meant as one: a dash too few, lower case, dashes of a word
/// processor. A comment about a front-end certificate is none.
fn is_broken_marker(text: &[u8]) -> bool {
    const WORDS: [&str; 6] = ["CERTIFICATE", "X509", "CRL", "KEY", "PKCS", "CMS"];
    let has = |word: &[u8]| text.windows(word.len()).any(|found| found == word);
    if has(b"-----BEGIN") || has(b"-----END") {
        return true;
    }
    let text = text.get(..MARKER_BYTES_MAX).unwrap_or(text);
    let text = String::from_utf8_lossy(text).to_uppercase();
    let is_long_dash = |one: char| ('\u{2012}'..='\u{2015}').contains(&one);
    let verbs = text.match_indices("BEGIN").chain(text.match_indices("END"));
    verbs.into_iter().any(|(place, verb)| {
        let (before, rest) = text.split_at(place);
        let (before, after) = (before.trim_end(), rest.trim_start_matches(verb).trim_end());
        let begins = before.ends_with("--") || before.ends_with(is_long_dash);
        let ends = after.ends_with("--") || after.ends_with(is_long_dash);
        WORDS.iter().any(|word| after.contains(word)) && (begins || before.is_empty() && ends)
    })
}

/// A line, for a message.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text.trim().chars().take(SHOWN_CHARS_MAX).collect();
    text.escape_debug().to_string()
}

/// Bytes of a line that are looked through for a broken marker: those of one with some words before
/// it. What a long line hides further on is an end without a beginning, or no block at all.
const MARKER_BYTES_MAX: usize = 256;

/// Characters of a line that a message repeats: the longest marker that anyone writes has fewer.
const SHOWN_CHARS_MAX: usize = 80;

/// `Proc-Type: 4,ENCRYPTED`: a word and a colon (RFC 1421 §4.6).
fn is_header(line: &[u8]) -> bool {
    let of_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let name = line.iter().take_while(|byte| of_word(byte)).count();
    name > 0 && line.get(name) == Some(&b':')
}

/// A block whose end has not come.
struct Open {
    label: String,
    line: usize,
    /// Which block it is, from 1.
    place: usize,
    digits: Vec<u8>,
    /// Between its beginning and the empty line that ends its headers (RFC 1421 §4.6).
    in_headers: bool,
    is_encrypted: bool,
}

impl Open {
    fn new(label: &str, line: usize, place: usize) -> Self {
        Self {
            label: label.into(),
            line,
            place,
            digits: Vec::new(),
            in_headers: false,
            is_encrypted: false,
        }
    }

    fn error(&self, problem: Problem) -> PemError {
        PemError {
            line: Some(self.line),
            block: Some((self.place, self.label.clone())),
            problem,
        }
    }

    fn take(&mut self, text: &[u8], line: usize) -> Result<(), PemError> {
        let trimmed = text.trim_ascii();
        if trimmed.is_empty() {
            self.in_headers = false;
            return Ok(());
        }
        if self.digits.is_empty() && (self.in_headers || is_header(trimmed)) {
            let has = |word: &[u8]| trimmed.windows(word.len()).any(|found| found == word);
            self.is_encrypted |= trimmed.starts_with(b"Proc-Type:") && has(b"ENCRYPTED");
            self.in_headers = true;
            return Ok(());
        }
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
        let digits = trimmed
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace());
        if digits.clone().all(is_digit) {
            self.digits.extend(digits);
            return Ok(());
        }
        let mut error = self.error(if is_broken_marker(trimmed) {
            Problem::Marker(shown(trimmed))
        } else if trimmed.windows(2).any(|pair| pair == b"\\n") {
            Problem::WrittenLineEnds
        } else {
            let text = String::from_utf8_lossy(trimmed);
            let is_stranger =
                |one: &char| !(one.is_ascii_whitespace() || one.is_ascii() && is_digit(*one as u8));
            Problem::Character(text.chars().find(is_stranger).unwrap_or_default())
        });
        error.line = Some(line);
        Err(error)
    }

    fn finish(self, label: &str) -> Result<Block, PemError> {
        if self.label != label {
            return Err(self.error(Problem::OtherEnd(label.into())));
        }
        let block = |form, der, trust| Block {
            form,
            label: self.label.clone(),
            line: self.line,
            der,
            trust,
        };
        let meant = Form::of_label(&self.label).map_err(|problem| self.error(problem))?;
        if self.is_encrypted {
            return Ok(block(
                Form::EncryptedKey,
                Vec::new(),
                TrustSettings::default(),
            ));
        }
        let mut der = STANDARD
            .decode(&self.digits)
            .map_err(|why| self.error(Problem::Base64(why.to_string())))?;
        // Key parameters may be an object identifier alone.
        if meant == Form::Parameters {
            return Ok(block(meant, der, TrustSettings::default()));
        }
        let first = Reader::new(&der)
            .whole(tag::SEQUENCE, "")
            .map(|(whole, _)| whole.len());
        let size = first.map_err(|_no_element| self.error(Problem::NotDer))?;
        let behind = der.split_off(size);
        let trust = match self.label.as_str() {
            "TRUSTED CERTIFICATE" => TrustSettings::read(&behind)
                .map_err(|_unreadable| self.error(Problem::TrustSettings))?,
            _ if !behind.is_empty() => return Err(self.error(Problem::Behind(behind.len()))),
            _ => TrustSettings::default(),
        };
        let form = form_of(&der).unwrap_or(meant);
        if meant.may_be(form) {
            Ok(block(form, der, trust))
        } else {
            Err(self.error(Problem::Mislabelled { meant, form }))
        }
    }
}

#[cfg(test)]
mod tests;
