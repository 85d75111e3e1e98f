//! A transaction: what one change wrote, and the revision that it made. The unit in which a store is
//! followed by another.
//!
//! Owns its form as bytes. Does not know what the records mean: [`replay`](super::replay) does.
//!
//! ```text
//! revision (8) | writes (4) | for each: table's name (1 + n) | key (4 + n) | 0, or 1 and value (4 + n)
//! ```

use super::keys::TRUST_EPOCH_KEY;
use super::{Table, Write};

/// What one change wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The store's number of it.
    pub revision: u64,
    /// Every key that was set or removed.
    pub writes: Vec<Write>,
}

/// Why bytes are no transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// There are fewer bytes than it says, or more.
    #[error("a change is cut short, or has more than it says")]
    Length,
    /// A newer Postern knows it.
    #[error("a change writes to the table `{0}`, which is not known here")]
    Table(String),
}

impl Transaction {
    /// Whether verifications of clients made before it are to be made again.
    pub(crate) fn moves_trust(&self) -> bool {
        let mut writes = self.writes.iter();
        writes.any(|write| write.table == Table::Meta && write.key == TRUST_EPOCH_KEY)
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.revision.to_be_bytes().to_vec();
        bytes.extend(length(self.writes.len()));
        for write in &self.writes {
            let name = write.table.name();
            // Names of tables are short.
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend(name.as_bytes());
            bytes.extend(length(write.key.len()));
            bytes.extend(&write.key);
            bytes.push(u8::from(write.value.is_some()));
            if let Some(value) = &write.value {
                bytes.extend(length(value.len()));
                bytes.extend(value);
            }
        }
        bytes
    }

    /// Reads all of `bytes`.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TransactionError> {
        let mut rest = Rest(bytes);
        let revision = rest.array().map(u64::from_be_bytes)?;
        let count = rest.length()?;
        let mut writes = Vec::new();
        for _ in 0..count {
            let [name_length] = rest.array()?;
            let name = rest.take(name_length.into())?;
            let table = Table::ALL
                .into_iter()
                .find(|table| table.name().as_bytes() == name);
            let unknown = || TransactionError::Table(String::from_utf8_lossy(name).into_owned());
            let table = table.ok_or_else(unknown)?;
            let length = rest.length()?;
            let key = rest.take(length)?.to_vec();
            let value = match rest.array()? {
                [0] => None,
                [1] => {
                    let length = rest.length()?;
                    Some(rest.take(length)?.to_vec())
                }
                _ => return Err(TransactionError::Length),
            };
            writes.push(Write { table, key, value });
        }
        if rest.0.is_empty() {
            Ok(Self { revision, writes })
        } else {
            Err(TransactionError::Length)
        }
    }
}

/// A length as bytes. What a change writes is far smaller: bodies of requests are bounded.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// What is not read yet.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], TransactionError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(TransactionError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TransactionError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(TransactionError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn length(&mut self) -> Result<usize, TransactionError> {
        let length = u32::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(|_too_long| TransactionError::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_whole_or_not_at_all() {
        let write = |table, key: &[u8], value: Option<&[u8]>| Write {
            table,
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
        };
        let transaction = Transaction {
            revision: 7,
            writes: vec![
                write(Table::Hosts, b"api.example.test", Some(b"{}")),
                write(Table::Revoked, b"", Some(b"")),
                write(Table::Zones, &[0; 16], None),
            ],
        };
        let bytes = transaction.encode();
        assert_eq!(Transaction::decode(&bytes).as_ref(), Ok(&transaction));
        for length in 0..bytes.len() {
            let cut = Transaction::decode(&bytes[..length]);
            assert_eq!(cut, Err(TransactionError::Length), "{length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Transaction::decode(&longer), Err(TransactionError::Length));
        let mut other = bytes;
        other[13] = b'x';
        assert_eq!(
            Transaction::decode(&other),
            Err(TransactionError::Table("xosts".into()))
        );
        let empty = Transaction {
            revision: 0,
            writes: Vec::new(),
        };
        assert_eq!(Transaction::decode(&empty.encode()), Ok(empty));
    }
}
