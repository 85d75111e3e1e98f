//! The corpora, replayed: every file whole, every beginning of it, and every byte changed.

use super::random::Random;
use super::{requests, streams};

fn sweep(target: &str, check: fn(&[u8])) {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus");
    let mut seen = 0;
    for file in std::fs::read_dir(format!("{corpus}/{target}")).unwrap() {
        let mut data = std::fs::read(file.unwrap().path()).unwrap();
        for end in 0..=data.len() {
            check(&data[..end]);
        }
        for at in 0..data.len() {
            for change in [0x01, 0x02, 0x20, 0x80] {
                data[at] ^= change;
                check(&data);
                data[at] ^= change;
            }
        }
        seen += 1;
    }
    assert!(seen > 0, "no corpus of {target}");
}

#[test]
fn the_corpora_keep_their_promises() {
    sweep("http1_server_head", super::server_head);
    sweep("http1_client_head", super::client_head);
    sweep("http1_chunked", super::chunked);
    sweep("http1_connection", super::connection);
}

#[test]
fn what_is_passed_on_is_what_was_seen() {
    for round in 0..streams::rounds() {
        let mut random = Random(round ^ 0x3333);
        let (mut requests, _) = requests::connection(&mut random);
        let (mut answer, _) = streams::answer(&mut random);
        if random.once_in(2) {
            streams::spoil(&mut random, &mut requests);
            streams::spoil(&mut random, &mut answer);
        }
        super::passing::check_connection(&requests, &answer);
    }
}
