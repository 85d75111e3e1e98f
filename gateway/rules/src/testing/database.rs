//! A writer of small databases in MaxMind's format: IPv6 tree, records of 24 bits, no pointers in
//! the data. <https://maxmind.github.io/MaxMind-DB/>

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::geo::Database;

/// A database of these networks, none inside another, as if it had been read.
pub fn database(networks: &[(&str, Value)]) -> Database {
    Database {
        path: PathBuf::from("test.mmdb"),
        bytes: write(networks),
    }
}

/// A database in a file that goes with it.
pub struct File(PathBuf);

impl File {
    /// A database of these networks, none inside another.
    pub fn new(networks: &[(&str, Value)]) -> Self {
        Self::of(&write(networks))
    }

    /// A file with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        static FILES: AtomicU64 = AtomicU64::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("postern-geo-{}-{number}.mmdb", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &PathBuf {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[derive(Clone, Copy)]
enum Slot {
    Nothing,
    Node(usize),
    /// An offset in the data section.
    Data(usize),
}

/// The bytes of a database.
pub fn write(networks: &[(&str, Value)]) -> Vec<u8> {
    let mut nodes = vec![[Slot::Nothing; 2]];
    let mut data = Vec::new();
    for (network, record) in networks {
        let (address, length) = network.split_once('/').unwrap();
        let length: usize = length.parse().unwrap();
        // IPv4 lies at `::/96`.
        let (number, length) = match address.parse().unwrap() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), length + 96),
            IpAddr::V6(address) => (address.to_bits(), length),
        };
        let offset = data.len();
        encode(record, &mut data);
        let mut at = 0;
        for depth in 0..length {
            let side = usize::from(number >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                nodes[at][side] = Slot::Data(offset);
                break;
            }
            at = match nodes[at][side] {
                Slot::Node(next) => next,
                Slot::Nothing => {
                    let next = nodes.len();
                    nodes.push([Slot::Nothing; 2]);
                    nodes[at][side] = Slot::Node(next);
                    next
                }
                Slot::Data(_) => panic!("{network} is inside another one"),
            };
        }
    }
    let mut file = Vec::new();
    for slot in nodes.iter().flatten() {
        let number = match slot {
            Slot::Nothing => nodes.len(),
            Slot::Node(number) => *number,
            Slot::Data(offset) => nodes.len() + 16 + offset,
        };
        file.extend_from_slice(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    file.extend_from_slice(&[0; 16]);
    file.extend_from_slice(&data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let metadata = json!({
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "database_type": "Postern-Test",
        "description": { "en": "made by a test" },
        "ip_version": 6,
        "languages": ["en"],
        "node_count": nodes.len(),
        "record_size": 24,
    });
    encode(&metadata, &mut file);
    file
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (short, rest) = match u8::try_from(size) {
        Ok(size @ ..29) => (size, None),
        _ => (29, Some(u8::try_from(size - 29).unwrap())),
    };
    match kind {
        8.. => out.extend_from_slice(&[short, kind - 7]),
        _ => out.push(kind << 5 | short),
    }
    out.extend(rest);
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            control(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Number(number) => {
            let number = u32::try_from(number.as_u64().unwrap()).unwrap();
            control(6, 4, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Bool(value) => control(14, usize::from(*value), out),
        Value::Array(items) => {
            control(11, items.len(), out);
            items.iter().for_each(|item| encode(item, out));
        }
        Value::Object(fields) => {
            control(7, fields.len(), out);
            for (name, value) in fields {
                encode(&Value::from(name.as_str()), out);
                // Of the metadata's numbers the format says which type they have.
                let number = value.as_u64().unwrap_or_default();
                match name.as_str() {
                    "build_epoch" => {
                        control(9, 8, out);
                        out.extend_from_slice(&number.to_be_bytes());
                    }
                    "binary_format_major_version"
                    | "binary_format_minor_version"
                    | "ip_version"
                    | "record_size" => {
                        control(5, 2, out);
                        out.extend_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
                    }
                    _ => encode(value, out),
                }
            }
        }
        Value::Null => panic!("there is no null in this format"),
    }
}
