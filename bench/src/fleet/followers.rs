//! The followers of `bench fleet`, in a process of their own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::fleet::{Entry, Follower, SnapshotHead, State, Take, Taken};
use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use tokio::sync::mpsc;

use super::{ALL_BUT_ONE, PATIENCE, READY, TakenAt, log, now};

/// Threads on which entries are taken: what one does there is over at once.
const TAKING_THREADS: usize = 4;

/// Arguments of the followers.
#[derive(Debug, Clone, Args)]
pub struct FollowerArguments {
    /// Where etcd is, or relays of it, among which the followers are spread
    #[arg(long, value_delimiter = ',')]
    urls: Vec<String>,
    /// How many
    #[arg(long)]
    count: u32,
    /// Changes that will come
    #[arg(long)]
    changes: u64,
}

/// When each change was taken, by every follower.
struct Tally {
    count: usize,
    times: Vec<Mutex<Vec<u64>>>,
    whole: mpsc::UnboundedSender<()>,
}

struct Taker(Arc<Tally>);

impl Take for Taker {
    fn take(&mut self, entry: &Entry) -> Result<Taken, String> {
        let index = usize::try_from(entry.head.revision).unwrap_or_default();
        let times = index
            .checked_sub(1)
            .and_then(|index| self.0.times.get(index));
        let times = times.ok_or("more changes than were said")?;
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.push(now());
        if times.len() == self.0.count {
            self.0.whole.send(()).map_err(|gone| gone.to_string())?;
        }
        Ok(Taken::Done)
    }

    fn take_snapshot(
        &mut self,
        _snapshot: &SnapshotHead,
        _parts: &mut dyn Iterator<Item = Result<Bytes, String>>,
    ) -> Result<Taken, String> {
        Err("nobody is so far behind".to_owned())
    }
}

/// Follows until all changes have come, says when each was taken, and waits to be ended.
///
/// # Errors
/// etcd does not answer.
pub fn follow(arguments: &FollowerArguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(TAKING_THREADS)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: &FollowerArguments) -> Result<()> {
    let (whole, mut is_whole) = mpsc::unbounded_channel();
    let tally = Arc::new(Tally {
        count: usize::try_from(arguments.count)?,
        times: (0..arguments.changes).map(|_| Mutex::default()).collect(),
        whole,
    });
    let first = arguments
        .urls
        .first()
        .context("there is nothing to follow")?;
    let first = log(first, "first")?;
    let end = Instant::now() + PATIENCE;
    // A relay may not be there yet.
    let known = loop {
        match first.head().await {
            Ok(known) => break known,
            Err(error) if Instant::now() > end => return Err(error.into()),
            Err(_not_yet) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let mut standings = Vec::new();
    for (number, url) in (0..arguments.count).zip(arguments.urls.iter().cycle()) {
        let log = log(url, &format!("edge-{number}"))?;
        let (follower, standing) = Follower::new(log, known, Taker(tally.clone()));
        tokio::spawn(follower.run());
        standings.push(standing);
    }
    for standing in &mut standings {
        standing.wait_for(|now| now.state == State::Current).await?;
    }
    println!("{READY}");
    for change in 1..=arguments.changes {
        is_whole.recv().await.context("the followers are gone")?;
        if change + 1 == arguments.changes {
            println!("{ALL_BUT_ONE}");
        }
    }
    let mut all = Vec::new();
    for (revision, times) in (1..).zip(&tally.times) {
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.sort_unstable();
        let half = times.get(times.len() / 2).copied().unwrap_or_default();
        let last = times.last().copied().unwrap_or_default();
        all.push(TakenAt {
            revision,
            half,
            last,
        });
    }
    println!("{}", serde_json::to_string(&all)?);
    std::future::pending::<()>().await;
    Ok(())
}
