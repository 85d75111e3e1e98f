//! ClientHellos of several segments: put together by the program where the next segment has been
//! seen before the stack gets the first one, and handed over otherwise.

use super::super::Steering;
use super::super::hello::{RequestedHost, wanted};
use super::network::{SERVER_IPV4, SERVER_IPV6, moved, visit_with, with_workers};
use super::proven::{Client, with_listener};
use super::{client_hello, in_own_network, ip, loaded};
use aya::maps::Array;
use boring::ssl::ConnectConfiguration;
use ebpf::packet::segment;
use ebpf::{Counters, PART_TAIL_SIZE, placed_mark};
use vocabulary::hostname::HostName;

const HOST: &str = "one.example.com";
const XDP_PASS: u32 = 2;
/// Payload of a full segment on Ethernet, with timestamps.
const SEGMENT_SIZE: usize = 1_448;
/// Connections a way, half of them over each family.
const VISITS: u64 = 60;

/// As browsers write it: post-quantum, in any order.
fn permuted(name: &str) -> Vec<u8> {
    client_hello(Some(name), |client: &mut ConnectConfiguration| {
        client
            .set_curves_list("X25519MLKEM768:X25519:P-256")
            .unwrap();
        client.set_permute_extensions(true);
    })
}

fn is_named(bytes: &[u8]) -> bool {
    matches!(wanted(bytes), RequestedHost::Host(_))
}

/// Who is wanted is known from the same bytes on both sides, whatever order BoringSSL chose.
#[test]
fn permuted_hellos_of_two_segments_name_the_host_in_one_of_them() {
    let hellos = std::iter::repeat_with(|| permuted(HOST)).take(200);
    let first = hellos.filter(|bytes| {
        assert!(is_named(bytes));
        is_named(&bytes[..SEGMENT_SIZE])
    });
    let first = first.count();
    // Which is what the kernel steers at once.
    println!("names in the first segment: {first} of 200");
    assert!((1..200).contains(&first), "{first}");
}

/// What the program counted for these frames of one connection, all of which it passed.
fn counted<'a>(steering: &mut Steering, frames: impl IntoIterator<Item = &'a [u8]>) -> Counts {
    let mut frames = frames.into_iter().peekable();
    // No stack takes the note that the frames before these may have left.
    let first = frames.peek().unwrap();
    let (place, _) = placed_mark(&segment(*first, first.len()).unwrap().flow);
    let notes = steering.kernel.map_mut("POSTERN_NOTES").unwrap();
    let mut notes = Array::<_, u64>::try_from(notes).unwrap();
    notes.set(place, 0, 0).unwrap();
    let before = steering.counters().unwrap();
    for frame in frames {
        assert_eq!(steering.try_frame(frame, 1).unwrap().0, XDP_PASS);
    }
    let after = steering.counters().unwrap();
    let moved = |field: fn(Counters) -> u64| moved(before, after, field);
    assert_eq!(moved(|counters| counters.overtaken), 0);
    let counts = Counts {
        split: moved(|counters| counters.partial),
        joined: moved(|counters| counters.joined),
        noted: moved(|counters| counters.noted),
    };
    assert_eq!(moved(|counters| counters.cookies_bad), 0);
    counts
}

#[derive(Debug, Eq, PartialEq)]
struct Counts {
    split: u64,
    joined: u64,
    noted: u64,
}

const AT_ONCE: Counts = Counts {
    split: 0,
    joined: 0,
    noted: 1,
};
const JOINED: Counts = Counts {
    split: 1,
    joined: 1,
    noted: 1,
};
const SPLIT: Counts = Counts {
    split: 1,
    joined: 0,
    noted: 0,
};

#[test]
fn the_program_goes_on_where_the_first_segment_ended() {
    with_listener("steer::segments", |steering| {
        let long = ["a".repeat(60).as_str(); 4].join(".");
        for (name, port) in [(HOST, 50_100), (&long, 50_101)] {
            steering.own(&HostName::parse(name).unwrap(), &[0]).unwrap();
            let client = Client::connects(port);
            for _ in 0..4 {
                let hello = permuted(name);
                // Cut anywhere: before the name, in the middle of it or of another extension,
                // behind it.
                for cut in (PART_TAIL_SIZE..hello.len()).step_by(7) {
                    let (first, second) = hello.split_at(cut);
                    let frames = [client.says(first), client.says_after(cut, second)];
                    let expected = if is_named(first) { AT_ONCE } else { JOINED };
                    let counts = counted(steering, frames.iter().map(Vec::as_slice));
                    assert_eq!(counts, expected, "{name}, cut at {cut}");
                }
                // In three, and the first of them a second time.
                let parts: Vec<_> = [0..600, 0..600, 600..1_200, 1_200..hello.len()]
                    .map(|range| client.says_after(range.start, &hello[range]))
                    .into();
                let counts = counted(steering, parts.iter().map(Vec::as_slice));
                if !is_named(&hello[..600]) {
                    let again = Counts { split: 2, ..JOINED };
                    assert_eq!(counts, again, "{name}");
                }
            }
        }
    });
}

#[test]
fn what_does_not_follow_the_first_segment_passes() {
    with_listener("steer::follows", |steering| {
        steering.own(&HostName::parse(HOST).unwrap(), &[0]).unwrap();
        let hello = std::iter::repeat_with(|| permuted(HOST))
            .find(|bytes| !is_named(&bytes[..SEGMENT_SIZE]))
            .unwrap();
        let (first, second) = hello.split_at(SEGMENT_SIZE);
        let client = Client::connects(50_102);
        let says = |at: usize, bytes: &[u8]| client.says_after(at, bytes);
        let start = says(0, first);
        let end = says(SEGMENT_SIZE, second);
        // Not the next bytes, then the next ones.
        for at in [SEGMENT_SIZE - 1, SEGMENT_SIZE + 1, SEGMENT_SIZE + 5_000] {
            let frames = [start.clone(), says(at, second)];
            let counts = counted(steering, frames.iter().map(Vec::as_slice));
            assert_eq!(counts, SPLIT, "{at}");
        }
        assert_eq!(counted(steering, [&start[..], &end]), JOINED);
        // Of an unknown host: no owner is noted, and nothing is turned away that has begun.
        steering.disown(&HostName::parse(HOST).unwrap()).unwrap();
        let dropped = ebpf::Admission {
            unknown_dropped: 1,
            ..ebpf::Admission::default()
        };
        steering.set_admission(dropped).unwrap();
        assert_eq!(counted(steering, [&start[..], &end]), SPLIT);
        // Cut anywhere and a byte changed, it is passed.
        for at in 0..second.len() {
            for value in [0, 0xff] {
                let mut changed = second.to_vec();
                changed[at] = value;
                let changed = says(SEGMENT_SIZE, &changed[..at + 1]);
                assert_eq!(counted(steering, [&start[..], &changed]), SPLIT, "{at}");
            }
        }
    });
}

fn visits() {
    for address in [SERVER_IPV4, SERVER_IPV6] {
        for _ in 0..VISITS / 2 {
            visit_with(address, &permuted(HOST), usize::MAX);
        }
    }
}

/// The second segment begins like a record: looking whether it is a hello must not use up the first
/// one's note.
fn visits_that_look_like_two() {
    let mut hello = std::iter::repeat_with(|| permuted(HOST))
        .find(|bytes| is_named(&bytes[..SEGMENT_SIZE]))
        .unwrap();
    hello[SEGMENT_SIZE] = 22;
    for _ in 0..10 {
        assert_eq!(visit_with(SERVER_IPV4, &hello, usize::MAX), 1);
    }
}

/// Two segments that a client's kernel makes of one write lie in the same receive batch; without
/// GSO they come one by one, and then it is the interface's setting whether the first one waits.
#[test]
fn segments_of_a_batch_are_joined() {
    in_own_network("steer::batch", || {
        let Some(mut steering) = loaded("steer::batch") else {
            return;
        };
        with_workers(&mut steering, |steering, client| {
            steering.own(&HostName::parse(HOST).unwrap(), &[1]).unwrap();
            let round = |steering: &Steering, what: &str| {
                let before = steering.counters().unwrap();
                client.run(visits);
                let after = steering.counters().unwrap();
                let moved = |field: fn(Counters) -> u64| moved(before, after, field);
                let counts = Counts {
                    split: moved(|counters| counters.partial),
                    joined: moved(|counters| counters.joined),
                    noted: moved(|counters| counters.noted),
                };
                println!("{what}, {VISITS} connections: {counts:?}");
                assert_eq!(moved(|counters| counters.placed), counts.noted);
                assert_eq!(counts.noted, VISITS - counts.split + counts.joined);
                assert_eq!(moved(|counters| counters.overtaken), 0);
                counts
            };
            let batch = round(steering, "a batch");
            client.run(visits_that_look_like_two);
            client.run(|| ip("link set outside gso_max_segs 1"));
            let single = round(steering, "one by one");
            assert!(batch.split > 0 && single.split > 0);
            // Another receive batch may take the first segment away from the second, on a busy
            // machine now and then.
            assert!(batch.joined * 2 > batch.split, "{batch:?}");
        });
    });
}
