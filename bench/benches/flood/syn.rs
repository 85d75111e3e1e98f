//! Handshakes of visitors under a flood of SYNs.

use std::sync::Arc;
use std::time::Duration;

use bench::machine::cpu_time;
use tests::network::SERVER_IPV4;
use tests::{Gateway, Network, Origin, Setup};

use crate::sender::{Flood, Sent, Victim, Wire};
use crate::visitors::{Visits, come};
use crate::{in_turns, kernel};

const WAYS: [&str; 3] = ["off", "kernel", "synproxy"];
const HOST: &str = "h1.example.test";
/// Visitors a second: few enough that CPUs are left for a flood.
const VISITORS: u32 = 100;
const QUIET_SECONDS: u32 = 2;
const FLOOD_SECONDS: u32 = 4;
/// Times that every way has its turn.
const TURNS: usize = 4;

/// What a way came to.
#[derive(Default)]
struct Sum {
    quiet: Visits,
    flooded: Visits,
    quiet_cpu: Duration,
    flooded_cpu: Duration,
    sent: Sent,
    /// The same flood to another machine's link address: what sending and receiving a frame costs
    /// by itself.
    thrown: Sent,
    softirq: Duration,
    threads: Duration,
    replies: u64,
    program: (u64, Duration),
}

/// Runs it and prints what it came to.
pub(crate) fn run(rate: u32) {
    // Counted while this is open, and not a moment longer.
    let _statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime);
    let turn = |network: &Network, way, sum: &mut Sum| turn_of(network, way, rate, sum);
    let Some(sums) = in_turns(&WAYS, TURNS, turn) else {
        return;
    };
    println!(
        "\n{VISITORS} visitors a second, {rate} SYNs a second asked for, {TURNS} turns of {FLOOD_SECONDS} s"
    );
    println!(
        "{:9} {:>8} {:>8} | {:>23} | {:>23} | {:>21} | {:>14} {:>14} {:>16}",
        "way",
        "SYN/s",
        "replies",
        "quiet: done p50 p99 ms",
        "flood: done p50 p99 ms",
        "gateway us a visit",
        "softirq ns/SYN",
        "CPU ns/SYN",
        "program ns/frame"
    );
    let thrown = sums.get("off").map(|sum| sum.thrown).unwrap_or_default();
    for way in WAYS {
        if let Some(sum) = sums.get(way) {
            line(way, sum, each(thrown.cpu, thrown.frames));
        }
    }
    println!(
        "A frame to nobody: {:.0} ns of CPU, sending and all.",
        each(thrown.cpu, thrown.frames)
    );
    println!(
        "replies: frames that came back for each SYN. softirq: /proc/stat while flooded, less the same while quiet; ticks of the \
         whole machine. CPU: of the senders' threads and of ksoftirqd, less that of the same frames to nobody."
    );
}

/// Nanoseconds of each.
fn each(time: Duration, count: u64) -> f64 {
    time.as_nanos() as f64 / count.max(1) as f64
}

fn line(way: &str, sum: &Sum, thrown: f64) {
    let visit = |cpu: Duration, visits: &Visits| each(cpu, visits.times.len() as u64) / 1e3;
    let frames = sum.sent.frames;
    let (runs, time) = sum.program;
    println!(
        "{way:9} {:>8.0} {:>8.2} | {:>23} | {:>23} | {:>9.0} {:>11.0} | {:>14.0} {:>14.0} {:>16.0}",
        frames as f64 / sum.sent.wall.as_secs_f64().max(0.001),
        sum.replies as f64 / frames.max(1) as f64,
        sum.quiet.line(),
        sum.flooded.line(),
        visit(sum.quiet_cpu, &sum.quiet),
        visit(sum.flooded_cpu, &sum.flooded),
        each(sum.softirq, frames),
        each(sum.sent.cpu + sum.threads, frames) - thrown,
        each(time, runs),
    );
}

/// One way's turn, with a gateway of its own.
fn turn_of(network: &Network, way: &'static str, rate: u32, sum: &mut Sum) {
    // The same for every way: a veth end takes what its peer's program sends back only when it runs
    // a program itself.
    let receiving = network.client.run(|| {
        let mut receiving = datapath::steer::load().unwrap();
        receiving.attach("outside").unwrap();
        receiving
    });
    let (origin, gateway) = network.server.run(move || {
        // Without a way back to the flood's addresses the stack would not answer it at all.
        let route = std::process::Command::new("ip")
            .args(["route", "add", "default", "via", "192.0.2.2"])
            .status();
        assert!(route.unwrap().success(), "a default route");
        let origin = Origin::echo();
        let setup = Setup::new()
            .listen(&[SERVER_IPV4])
            .set("workers", "2")
            .set("steer.mode", if way == "off" { "off" } else { "kernel" })
            .set(
                "steer.synproxy",
                if way == "synproxy" { "on" } else { "off" },
            )
            .set("log.level", "warn")
            .host(HOST, "off", &origin.url());
        (origin, setup.start())
    });
    let gateway = Arc::new(gateway);
    if way == "synproxy" {
        let status = gateway.cli(&["--json", "steer", "status"]).json();
        let answers = status.get("synproxy").and_then(|word| word.as_str());
        assert_eq!(answers, Some("on"), "{status}");
    }
    let visit = |seconds| come(network, &gateway, HOST.into(), VISITORS, seconds);
    drop(visit(1));

    let (before, softirq) = (cpu_time(gateway.pid()), kernel::softirq());
    sum.quiet.add(visit(QUIET_SECONDS));
    sum.quiet_cpu += cpu_time(gateway.pid()).saturating_sub(before);
    let quiet_softirq = kernel::softirq().saturating_sub(softirq) * FLOOD_SECONDS / QUIET_SECONDS;

    let victim = victim(network);
    let elsewhere = Victim {
        mac: [2, 9, 9, 9, 9, 9],
        ..victim
    };
    if way == "off" {
        let flood = Flood::start(wires(network), elsewhere, rate);
        std::thread::sleep(Duration::from_secs(2));
        add(&mut sum.thrown, flood.end());
    }

    let (program, threads) = (kernel::program(gateway.pid()), kernel::softirq_threads());
    let (replies, softirq) = (received(network), kernel::softirq());
    let before = cpu_time(gateway.pid());
    let flood = Flood::start(wires(network), victim, rate);
    sum.flooded.add(visit(FLOOD_SECONDS));
    add(&mut sum.sent, flood.end());
    sum.flooded_cpu += cpu_time(gateway.pid()).saturating_sub(before);
    sum.softirq += kernel::softirq()
        .saturating_sub(softirq)
        .saturating_sub(quiet_softirq);
    sum.threads += kernel::softirq_threads().saturating_sub(threads);
    sum.replies += received(network) - replies;
    let after = kernel::program(gateway.pid());
    sum.program.0 += after.0.saturating_sub(program.0);
    sum.program.1 += after.1.saturating_sub(program.1);
    drop((Arc::<Gateway>::into_inner(gateway), origin, receiving));
}

fn add(sum: &mut Sent, more: Sent) {
    sum.frames += more.frames;
    sum.cpu += more.cpu;
    sum.wall += more.wall;
}

fn received(network: &Network) -> u64 {
    network.client.run(|| kernel::received("outside"))
}

/// One for each CPU.
fn wires(network: &Network) -> Vec<Wire> {
    let count = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    network
        .client
        .run(move || (0..count).map(|_| Wire::open("outside").unwrap()).collect())
}

fn victim(network: &Network) -> Victim {
    let link = network.server.ip("-o link show inside");
    let mac = link
        .split("link/ether ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let bytes = mac
        .unwrap()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap());
    let bytes: Vec<u8> = bytes.collect();
    Victim {
        mac: bytes.try_into().unwrap(),
        address: [192, 0, 2, 1],
        port: 443,
    }
}
