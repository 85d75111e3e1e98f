//! What holds of the table that workers share: bounds, times, shares.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::{AddressState, Health, OpenRequest, WHOLE_SHARE};
use super::{Address, Balancing, Ejection, Failure, OriginGroup, OriginState, Times, all};
use crate::http::origin::Origin;
use vocabulary::settings::OriginProtocol;

fn address(port: u16) -> Address {
    let origin = Origin {
        key: u64::from(port),
        url: format!("http://192.0.2.1:{port}").into(),
        host: "192.0.2.1".into(),
        port,
        addresses: vec![([192, 0, 2, 1], port).into()],
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
        hash: u64::from(port),
        state: Arc::new(AddressState::default()),
    }
}

fn group(count: u16) -> OriginGroup {
    OriginGroup {
        label: "example.test/backends".into(),
        zone: "".into(),
        addresses: (1..=count).map(address).collect(),
        balance: Balancing::RoundRobin,
        ejection: Ejection::default(),
        health: None,
        slow_start: Duration::from_secs(10),
        panic_percent: 0,
        times: Times::default(),
        requests: None,
        connections: None,
        queue_time: Duration::ZERO,
        state: Arc::new(OriginState::default()),
    }
}

fn fail(group: &OriginGroup, place: usize, times: usize, now: Instant) -> Option<Duration> {
    (0..times)
        .filter_map(|_| group.failed(place, Failure::Connect, now))
        .next_back()
}

#[test]
fn failures_in_a_row_eject_and_an_answer_begins_anew() {
    let (group, now) = (group(4), Instant::now());
    assert_eq!(fail(&group, 0, 2, now), None);
    group.addresses[0].state.served(now);
    assert_eq!(fail(&group, 0, 2, now), None);
    assert_eq!(fail(&group, 0, 1, now), Some(Duration::from_secs(10)));
    assert_eq!(group.usable(now), 0b1110);
    let state = &group.addresses[0].state;
    assert_eq!(state.out_for(now), Some(Duration::from_secs(10)));
    assert_eq!(state.last_failure(), Some(Failure::Connect));
    let back = now + Duration::from_secs(10);
    assert_eq!((group.usable(back), state.out_for(back)), (0b1111, None));
}

#[test]
fn each_further_time_is_twice_as_long_until_it_serves_again() {
    let (group, mut now) = (group(2), Instant::now());
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        let time = Duration::from_secs(seconds);
        assert_eq!(fail(&group, 1, 3, now), Some(time));
        now += time;
    }
    // An answer to what was sent before it was out counts for nothing.
    group.addresses[1]
        .state
        .served(now - Duration::from_secs(1));
    assert_eq!(fail(&group, 1, 3, now), Some(Duration::from_secs(300)));
    now += Duration::from_secs(301);
    group.addresses[1].state.served(now);
    assert_eq!(fail(&group, 1, 3, now), Some(Duration::from_secs(10)));
}

#[test]
fn no_more_are_out_than_may_be_and_never_all() {
    for (count, percent, out) in [
        (1, 100, 0),
        (2, 0, 1),
        (2, 100, 1),
        (3, 50, 1),
        (4, 50, 2),
        (10, 30, 3),
        (64, 100, 63),
    ] {
        let mut group = group(count);
        group.ejection.max_percent = percent;
        let now = Instant::now();
        let ejected = (0..usize::from(count))
            .filter(|place| fail(&group, *place, 9, now).is_some())
            .count();
        assert_eq!(ejected, out, "{count} addresses, {percent} %");
        let usable = group.usable(now).count_ones() as usize;
        assert_eq!(usable, usize::from(count) - out);
    }
}

#[test]
fn what_checks_have_taken_out_counts_among_those_that_are_out() {
    let (group, now) = (group(2), Instant::now());
    let [dead, other] = &*group.addresses else {
        panic!("two addresses");
    };
    assert!(dead.state.set_health(Health::Unhealthy, now));
    assert_eq!(fail(&group, 1, 9, now), None, "it is the last one");
    assert_eq!(fail(&group, 0, 9, now), None, "it is out as it is");
    assert_eq!(group.usable(now), 0b10);
    assert!(dead.state.set_health(Health::Healthy, now));
    assert!(fail(&group, 1, 9, now).is_some());
    assert!(!other.state.is_good(now));
}

#[test]
fn the_bound_holds_when_all_fail_at_once_on_many_threads() {
    for _ in 0..50 {
        let (group, now) = (group(8), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..200 {
                        let _out_for = group.failed(round % 8, Failure::Status, now);
                    }
                });
            }
        });
        let out = group.addresses.iter().filter(|one| one.state.is_out(now));
        let out = out.count();
        assert!((1..=4).contains(&out), "{out} are out");
    }
}

#[test]
fn one_that_is_back_gets_little_and_then_its_share() {
    let (group, now) = (group(2), Instant::now());
    let at = |place: usize, seconds: u64| {
        let slow = Duration::from_secs(10);
        group.addresses[place].weight_now(slow, now + Duration::from_secs(seconds))
    };
    assert_eq!(at(0, 0), WHOLE_SHARE, "one that was never out");
    assert!(fail(&group, 0, 3, now).is_some());
    assert_eq!(at(0, 10), WHOLE_SHARE / 10);
    assert_eq!(at(0, 15), WHOLE_SHARE / 2);
    assert_eq!(at(0, 20), WHOLE_SHARE);
    assert_eq!(at(1, 15), WHOLE_SHARE);
    // The same after the checks have found it well again.
    let state = &group.addresses[1].state;
    assert!(state.set_health(Health::Unhealthy, now));
    assert!(!state.set_health(Health::Unhealthy, now), "that is no news");
    assert_eq!(group.usable(now + Duration::from_secs(15)), 0b01);
    assert!(state.set_health(Health::Healthy, now + Duration::from_secs(15)));
    assert_eq!(at(1, 20), WHOLE_SHARE / 2);
    // What it is out for by itself goes on for longer than the checks had anything to say.
    let back = now + Duration::from_secs(20);
    let times = (0..9).find_map(|_| fail(&group, 0, 1, back));
    let times = times.expect("it is out again").as_secs();
    assert!(times > 2, "{times} s");
    let state = &group.addresses[0].state;
    assert!(state.set_health(Health::Unhealthy, back));
    assert!(state.set_health(Health::Healthy, back + Duration::from_secs(1)));
    assert_eq!(at(0, 20 + times), WHOLE_SHARE / 10);
    assert_eq!(at(0, 20 + times + 5), WHOLE_SHARE / 2);
}

#[test]
fn with_too_few_good_ones_all_are_used() {
    let (mut group, now) = (group(4), Instant::now());
    let sick = |group: &OriginGroup, place: usize| {
        group.addresses[place]
            .state
            .set_health(Health::Unhealthy, now);
    };
    for place in 0..3 {
        sick(&group, place);
    }
    assert_eq!((group.usable(now), group.panics(now)), (0b1000, false));
    group.panic_percent = 50;
    assert_eq!((group.usable(now), group.panics(now)), (0b1111, true));
    group.panic_percent = 25;
    assert_eq!(group.usable(now), 0b1000);
    sick(&group, 3);
    group.panic_percent = 0;
    assert_eq!((group.usable(now), group.panics(now)), (0b1111, true));
}

#[test]
fn requests_are_open_for_as_long_as_they_are() {
    let state = Arc::new(AddressState::default());
    let requests = [OpenRequest::at(&state), OpenRequest::at(&state)];
    assert_eq!((state.open(), state.counts()), (2, (2, 0)));
    drop(requests);
    assert_eq!((state.open(), state.counts()), (0, (2, 0)));
    assert_eq!((all(0), all(3), all(64)), (0, 0b111, u64::MAX));
}
