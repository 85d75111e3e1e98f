//! A ClientHello whose fingerprint is published.

/// The example of JA4's specification, with GREASE: <https://github.com/FoxIO-LLC/ja4>.
pub fn example() -> Vec<u8> {
    let ciphers: &[u16] = &[
        0x3a3a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
        0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
    ];
    let signatures = big(&[
        0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
    ]);
    let extensions: &[(u16, Vec<u8>)] = &[
        (0x1a1a, vec![]),
        (0x001b, vec![]),
        (0x0000, vec![]),
        (0x0033, vec![]),
        (0x0010, long(b"\x02h2\x08http/1.1")),
        (0x4469, vec![]),
        (0x0017, vec![]),
        (0x002d, vec![]),
        (0x000d, long(&signatures)),
        (0x0005, vec![]),
        (0x0023, vec![]),
        (0x0012, vec![]),
        (0x002b, b"\x06\x3a\x3a\x03\x04\x03\x03".to_vec()),
        (0xff01, vec![]),
        (0x000b, b"\x01\x00".to_vec()),
        (0x000a, long(&big(&[0x2a2a, 29, 23]))),
        (0x0015, vec![]),
    ];
    let mut message = vec![3, 3];
    message.extend([7; 32]);
    message.push(0);
    message.extend(long(&big(ciphers)));
    message.extend([1, 0]);
    let mut all = Vec::new();
    for (kind, content) in extensions {
        all.extend(kind.to_be_bytes());
        all.extend(long(content));
    }
    message.extend(long(&all));
    message
}

fn long(content: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(content);
    bytes
}

fn big(numbers: &[u16]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}
