//! What holds of every choice: weights, no address that may not be chosen, few keys that move.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::choice::{Random, Shares, by_hash, first_turn, least_of_two, next_in_turn};
use super::{Balancer, hash_of};
use crate::limits::TURNS_KEPT;
use snapshot::http::origin::Origin;
use snapshot::limits::ADDRESSES_MAX;
use snapshot::origins::{Address, Balancing, Ejection, Failure, OriginGroup, Times};
use vocabulary::settings::OriginProtocol;

fn shares(weights: &[u64]) -> Shares {
    let mut shares = Shares::default();
    for (place, weight) in weights.iter().enumerate() {
        shares.set(place, *weight);
    }
    shares
}

/// The hash of the address at a place.
fn address(place: usize) -> u64 {
    hash_of(format!("http://10.0.0.{place}:80").as_bytes())
}

fn key(number: usize) -> u64 {
    hash_of(&number.to_be_bytes())
}

/// Whether so many of `total` are near a share: within five standard deviations.
fn is_near(count: usize, total: usize, share: f64) -> bool {
    let (count, total) = (count as f64, total as f64);
    let deviation = (total * share * (1.0 - share)).sqrt();
    (count - total * share).abs() <= 5.0 * deviation + 1.0
}

fn group(count: u16) -> OriginGroup {
    let addresses = (1..=count).map(|port| {
        let origin = Origin {
            key: port.into(),
            url: format!("http://192.0.2.1:{port}").into(),
            host: "192.0.2.1".into(),
            port,
            addresses: Vec::new(),
            protocol: OriginProtocol::Auto,
            tls: None,
            reach: None,
            host_header: None,
            proxy_protocol: false,
            introduction: None,
            gone: Arc::default(),
        };
        Address {
            origin: Arc::new(origin),
            weight: 1,
            hash: port.into(),
            state: Arc::default(),
        }
    });
    OriginGroup {
        label: "".into(),
        zone: "".into(),
        addresses: addresses.collect(),
        balance: Balancing::RoundRobin,
        ejection: Ejection::default(),
        health: None,
        slow_start: Duration::ZERO,
        panic_percent: 0,
        times: Times::default(),
        requests: None,
        connections: None,
        queue_time: Duration::ZERO,
        state: Arc::default(),
    }
}

fn weights() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1_u64..=100, 2..=ADDRESSES_MAX)
}

proptest! {
    #[test]
    fn in_each_round_everybody_has_as_many_turns_as_its_weight(weights in weights()) {
        let shares = shares(&weights);
        let mut ahead = [0; ADDRESSES_MAX];
        let total: u64 = weights.iter().sum();
        for _round in 0..3 {
            let mut turns = vec![0; weights.len()];
            for turn in 0..total {
                turns[next_in_turn(&shares, &mut ahead).unwrap()] += 1;
                // Evenly spread: never more than one turn ahead of its share, nor behind.
                for (count, weight) in turns.iter().zip(&weights) {
                    let due = (turn + 1) as f64 * *weight as f64 / total as f64;
                    prop_assert!((*count as f64 - due).abs() <= weights.len() as f64);
                }
            }
            prop_assert_eq!(&turns, &weights);
        }
    }

    #[test]
    fn whoever_comes_and_goes_turns_are_shared_by_weight(
        weights in weights(),
        masks in prop::collection::vec(any::<u64>(), 1..5),
    ) {
        let mut ahead = [0; ADDRESSES_MAX];
        for mask in masks {
            let there: Vec<u64> = weights
                .iter()
                .enumerate()
                .map(|(place, weight)| if mask >> place & 1 == 1 { *weight } else { 0 })
                .collect();
            let (shares, total) = (shares(&there), there.iter().sum::<u64>());
            let mut turns = vec![0_u64; weights.len()];
            for _ in 0..2 * total {
                match next_in_turn(&shares, &mut ahead) {
                    Some(place) => turns[place] += 1,
                    None => prop_assert_eq!(total, 0),
                }
            }
            for (place, count) in turns.iter().enumerate() {
                // What was before the change may weigh in with a turn or two.
                let due = 2 * there[place];
                prop_assert!(count.abs_diff(due) <= 2 + due / 4, "{count} of {due}: {there:?}");
                prop_assert!(there[place] > 0 || *count == 0, "one that was out was chosen");
            }
        }
    }

    #[test]
    fn least_of_two_draws_only_what_may_be_drawn(
        weights in weights(),
        mask in any::<u64>(),
        open in prop::collection::vec(0_u32..50, ADDRESSES_MAX),
        seed in any::<u64>(),
    ) {
        let there: Vec<u64> = weights
            .iter()
            .enumerate()
            .map(|(place, weight)| if mask >> place & 1 == 1 { *weight } else { 0 })
            .collect();
        let (shares, mut random) = (shares(&there), Random::new(seed));
        for _ in 0..50 {
            match least_of_two(&shares, &mut random, |place| open[place]) {
                Some(place) => prop_assert!(there[place] > 0),
                None => prop_assert!(there.iter().all(|share| *share == 0)),
            }
        }
    }

    #[test]
    fn only_the_keys_of_the_address_that_goes_move(
        weights in prop::collection::vec(1_u64..=10, 2..12),
        gone in any::<prop::sample::Index>(),
    ) {
        let gone = gone.index(weights.len());
        let mut fewer = weights.clone();
        fewer[gone] = 0;
        let (all, fewer) = (shares(&weights), shares(&fewer));
        for number in 0..500 {
            let before = by_hash(&all, key(number), address).unwrap();
            let after = by_hash(&fewer, key(number), address).unwrap();
            prop_assert_ne!(after, gone);
            prop_assert!(before == gone || before == after, "key {} moved", number);
        }
    }

    #[test]
    fn more_weight_moves_keys_only_to_who_has_it(
        weights in prop::collection::vec(1_u64..=10, 2..12),
        heavier in any::<prop::sample::Index>(),
    ) {
        let heavier = heavier.index(weights.len());
        let mut more = weights.clone();
        more[heavier] *= 2;
        let (all, more) = (shares(&weights), shares(&more));
        for number in 0..500 {
            let before = by_hash(&all, key(number), address).unwrap();
            let after = by_hash(&more, key(number), address).unwrap();
            prop_assert!(before == after || after == heavier);
        }
    }
}

#[test]
fn keys_and_draws_are_shared_out_by_weight() {
    let weights = [1, 2, 5, 12];
    let (shares, total) = (shares(&weights), 20.0);
    let mut counts = [[0; 4]; 2];
    let mut random = Random::new(7);
    for number in 0..40_000 {
        counts[0][by_hash(&shares, key(number), address).unwrap()] += 1;
        // With nothing open but by weight, each is as good as the other: the first draw stands.
        counts[1][least_of_two(&shares, &mut random, |_| 0).unwrap()] += 1;
    }
    for (place, weight) in weights.iter().enumerate() {
        let share = *weight as f64 / total;
        assert!(is_near(counts[0][place], 40_000, share), "{counts:?}");
    }
    assert!(
        counts[1].is_sorted(),
        "more weight, more requests: {counts:?}"
    );
}

#[test]
fn least_of_two_keeps_open_requests_level() {
    let shares = shares(&[1; 10]);
    let (mut random, mut open) = (Random::new(1), [0_u32; 10]);
    for _ in 0..10_000 {
        let place = least_of_two(&shares, &mut random, |place| open[place]).unwrap();
        open[place] += 1;
    }
    let (least, most) = (open.iter().min().unwrap(), open.iter().max().unwrap());
    assert!(most - least <= 10, "{open:?}");
}

#[test]
fn hashes_are_the_same_in_every_process() {
    assert_eq!(
        hash_of(b"postern"),
        u64::from_be_bytes(boring::sha::sha256(b"postern")[..8].try_into().unwrap())
    );
    let shares = shares(&[1; 5]);
    let places: Vec<usize> = (0..10)
        .map(|number| by_hash(&shares, key(number), address).unwrap())
        .collect();
    assert_eq!(places, PLACES, "an upgrade must not move every key");
}

const PLACES: [usize; 10] = [1, 0, 1, 3, 3, 3, 4, 1, 1, 2];

#[test]
fn a_worker_forgets_turns_that_nobody_takes_for_minutes() {
    let balancer = Balancer::default();
    let group = group(3);
    let now = Instant::now();
    let places: Vec<_> = (0..6)
        .map(|_| balancer.choose(&group, 0, None, now).unwrap())
        .collect();
    for round in places.chunks(3) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2], "each in its turn");
    }
    assert_eq!(balancer.choose(&group, 0b011, None, now), Some(2));
    assert_eq!(balancer.choose(&group, 0b111, None, now), None);
    balancer.sweep(now + TURNS_KEPT / 2);
    assert_eq!(balancer.turns.borrow().len(), 1);
    balancer.sweep(now + TURNS_KEPT);
    assert_eq!(balancer.turns.borrow().len(), 0);
}

#[test]
fn first_turns_are_drawn_by_share() {
    let (weights, mut random) = ([1, 2, 5, 12], Random::new(3));
    let shares = shares(&weights);
    let mut firsts = [0; 4];
    for _ in 0..10_000 {
        let (first, mut ahead) = first_turn(&shares, &mut random).unwrap();
        firsts[first] += 1;
        // Whoever is first, the round is as any other.
        let mut turns = [0; 4];
        turns[first] += 1;
        for _ in 1..20 {
            turns[next_in_turn(&shares, &mut ahead).unwrap()] += 1;
        }
        assert_eq!(turns, weights);
    }
    for (count, weight) in firsts.iter().zip(weights) {
        assert!(is_near(*count, 10_000, weight as f64 / 20.0), "{firsts:?}");
    }
}

#[test]
fn while_all_are_used_each_has_its_whole_share() {
    let balancer = Balancer::default();
    let mut group = group(4);
    group.slow_start = Duration::from_secs(10);
    group.panic_percent = 80;
    let now = Instant::now();
    for _ in 0..3 {
        let _out_for = group.failed(1, Failure::Connect, now);
    }
    assert!(group.panics(now));
    let mut turns = [0; 4];
    for _ in 0..40 {
        turns[balancer.choose(&group, 0, None, now).unwrap()] += 1;
    }
    assert_eq!(turns, [10; 4]);
}
