//! Visitors of a quiet host while another one is flooded with handshakes.
//!
//! Two workers on two CPUs. The flood's clients are kept on the second CPU with the flooded host's
//! owner, the visitors run on the first, in both ways: what differs is only whom the kernel gives
//! the flood's connections to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bench::machine::{cpu_time, pin};
use tests::network::SERVER_IPV4;
use tests::{Gateway, Network, Origin, Setup};

use crate::in_turns;
use crate::visitors::{Visits, come};

const WAYS: [&str; 2] = ["off", "kernel"];
const QUIET: &str = "quiet.example.test";
const NOISY: &str = "noisy.example.test";
const VISITORS: u32 = 50;
const QUIET_SECONDS: u32 = 3;
const FLOOD_SECONDS: u32 = 5;
/// Handshakes of the flood under way at a time.
const AT_ONCE: usize = 64;
/// Times that every way has its turn.
const TURNS: usize = 4;

/// What a way came to.
#[derive(Default)]
struct Sum {
    quiet: Visits,
    flooded: Visits,
    handshakes: u64,
    wall: Duration,
    cpu: Duration,
}

/// Runs it and prints what it came to.
pub(crate) fn run() {
    let Some(sums) = in_turns(&WAYS, TURNS, turn_of) else {
        return;
    };
    println!(
        "\n{VISITORS} visitors a second of a quiet host, {AT_ONCE} handshakes at once with its neighbour, {TURNS} turns of {FLOOD_SECONDS} s"
    );
    println!(
        "{:9} {:>28} {:>28} {:>20} {:>24}",
        "way",
        "alone: done p50 p99 ms",
        "flooded: done p50 p99 ms",
        "flood handshakes/s",
        "gateway us a handshake"
    );
    for way in WAYS {
        let Some(sum) = sums.get(way) else { continue };
        println!(
            "{way:9} {:>28} {:>28} {:>20.0} {:>24.0}",
            sum.quiet.line(),
            sum.flooded.line(),
            sum.handshakes as f64 / sum.wall.as_secs_f64().max(0.001),
            sum.cpu.as_micros() as f64 / sum.handshakes.max(1) as f64,
        );
    }
}

fn turn_of(network: &Network, way: &'static str, sum: &mut Sum) {
    let (origin, gateway) = network.server.run(move || {
        let origin = Origin::echo();
        let setup = Setup::new()
            .listen(&[SERVER_IPV4])
            .set("workers", "2")
            .set("steer.mode", way)
            .set("steer.balance", "off")
            .set(&format!("host/{QUIET}/workers"), "0")
            .set(&format!("host/{NOISY}/workers"), "1")
            .set("log.level", "warn")
            .host(QUIET, "off", &origin.url())
            .host(NOISY, "off", &origin.url());
        (origin, setup.start())
    });
    let gateway = Arc::new(gateway);
    network.client.run(|| drop(pin(0)));
    let visit = |seconds| come(network, &gateway, QUIET.into(), VISITORS, seconds);
    drop(visit(1));
    sum.quiet.add(visit(QUIET_SECONDS));

    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let flooders = flood(network, &gateway, &stop, &count);
    std::thread::sleep(Duration::from_millis(500));
    let (before, cpu, began) = (
        count.load(Ordering::Relaxed),
        cpu_time(gateway.pid()),
        Instant::now(),
    );
    sum.flooded.add(visit(FLOOD_SECONDS));
    sum.wall += began.elapsed();
    sum.cpu += cpu_time(gateway.pid()).saturating_sub(cpu);
    sum.handshakes += count.load(Ordering::Relaxed) - before;
    stop.store(true, Ordering::Relaxed);
    flooders.join().unwrap();
    drop((Arc::<Gateway>::into_inner(gateway), origin));
}

/// A thread in the clients' namespace that shakes hands with the noisy host until it is told to stop.
fn flood(
    network: &Network,
    gateway: &Arc<Gateway>,
    stop: &Arc<AtomicBool>,
    count: &Arc<AtomicU64>,
) -> JoinHandle<()> {
    let (gateway, stop, count) = (gateway.clone(), stop.clone(), count.clone());
    let job = move || {
        // Where it is not allowed, the scheduler moves it, and the figures say less.
        drop(pin(1));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async move {
            let clients: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    let (client, stop) = (gateway.client(NOISY).groups("X25519"), stop.clone());
                    let count = count.clone();
                    tokio::spawn(async move {
                        while !stop.load(Ordering::Relaxed) {
                            let shaken = client.raw().await;
                            count.fetch_add(u64::from(shaken.is_ok()), Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
        });
    };
    // A thread begins in the namespace of the one that starts it.
    network.client.run(move || std::thread::spawn(job))
}
