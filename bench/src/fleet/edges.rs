//! The edges of `bench fleet`, in a process of their own: they follow the log until all changes have come, and
//! say when each had been taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::fleet::{
    Announcement, Announcer, Candidate, Entry, Follower, Head, Mandate, PresenceState,
    SnapshotHead, State, Take, Taken,
};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use control::{Control, FleetState, Mark};
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use serde_json::json;
use snapshot::Published;
use tokio::sync::mpsc;

use super::stages::{self, Spent};
use super::writer::{head, mark};
use super::{ALL_BUT_ONE, NAME, PATIENCE, READY, log, now};
use crate::machine::available_memory;

/// How often an edge looks what it is to say of itself, as the gateway does.
const LOOK: Duration = Duration::from_millis(500);
/// What a store has grown by when all changes are in it, at the most: the room is asked for before.
const GROWS: u64 = 3;

/// Arguments of the edges.
#[derive(Debug, Clone, Args)]
pub struct EdgeArguments {
    /// Where etcd is, or relays of it, among which the edges are spread
    #[arg(long, value_delimiter = ',')]
    urls: Vec<String>,
    /// How many
    #[arg(long)]
    count: u32,
    /// Changes that will come
    #[arg(long)]
    changes: u64,
    /// The state that edges begin with; without it they have no stores
    #[arg(long)]
    state: Option<PathBuf>,
    /// The fleet's key
    #[arg(long, default_value = "ca.key")]
    key: PathBuf,
    /// Where the stores are; whoever has made the directory removes it
    #[arg(long, default_value = ".")]
    stores: PathBuf,
    /// Threads that take changes
    #[arg(long)]
    threads: usize,
}

/// When a change was taken, in nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct TakenAt {
    pub(super) half: u64,
    pub(super) last: u64,
}

/// What the edges say at their end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Said {
    /// For each change.
    pub(super) taken: Vec<TakenAt>,
    /// CPU time of all changes but the last.
    pub(super) spent: Spent,
    /// Bytes of all stores.
    pub(super) stores: u64,
}

/// When each change was taken, by every edge.
struct Tally {
    count: usize,
    begin: u64,
    times: Vec<Mutex<Vec<u64>>>,
    whole: mpsc::UnboundedSender<()>,
}

impl Tally {
    fn note(&self, revision: u64) -> Result<(), String> {
        let index = revision.checked_sub(self.begin + 1);
        let index = index.and_then(|index| usize::try_from(index).ok());
        // When etcd came back a change may have been made twice.
        let Some(times) = index.and_then(|index| self.times.get(index)) else {
            return Ok(());
        };
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.push(now());
        if times.len() == self.count {
            self.whole.send(()).map_err(|gone| gone.to_string())?;
        }
        Ok(())
    }
}

/// Takes entries: into a store, or only notes them.
struct Taker {
    tally: Arc<Tally>,
    control: Option<Arc<Control>>,
}

impl Take for Taker {
    fn take(&mut self, entry: &Entry) -> Result<Taken, String> {
        if let Some(control) = &self.control {
            let taken = stages::counted(|| control.take(mark(&entry.head), &entry.bytes));
            taken.map_err(|error| error.to_string())?;
        }
        self.tally.note(entry.head.revision)?;
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

/// What an edge has going beside following.
struct Going {
    control: Arc<Control>,
    announcement: Announcement,
    /// It stands for leading as long as this is there.
    _mandate: Mandate,
}

impl Going {
    fn say(&self, name: &str) {
        let revision = self.control.model().revision;
        let value = json!({ "version": name, "revision": revision, "state": "current" });
        self.announcement.say(value);
    }
}

/// Stores of edges that have joined.
struct Stores {
    directory: PathBuf,
    controls: Vec<Arc<Control>>,
}

impl Stores {
    /// A store for each edge, with the state that the fleet was founded with.
    fn make(arguments: &EdgeArguments, state: &Path) -> Result<(Self, Mark)> {
        let (mark, parts) = serde_json::from_slice(&fs::read(state)?)?;
        let state = FleetState {
            mark,
            parts,
            entries: Vec::new(),
        };
        let mut stores = Self {
            directory: arguments.stores.clone(),
            controls: Vec::new(),
        };
        for number in 0..arguments.count {
            let directory = stores.directory.join(number.to_string());
            fs::create_dir(&directory)?;
            fs::copy(&arguments.key, directory.join("ca.key"))?;
            let path = directory.join("store.redb");
            let control = Control::open(&path, Arc::<Published>::default())?;
            control.join(NAME, &state, false)?;
            stores.controls.push(control);
            if number == 0 {
                stores.check_room(u64::from(arguments.count))?;
            }
        }
        Ok((stores, mark))
    }

    /// Whether there is room for so many as the first one.
    fn check_room(&self, count: u64) -> Result<()> {
        let needed = self.bytes()? * GROWS * count;
        let place = statvfs(&self.directory)?;
        let free = place.f_bavail * place.f_frsize;
        // Stores may be in memory, and what is compiled is there in any case.
        let free = free.min(available_memory()?) / 2;
        if needed > free {
            bail!(
                "{count} stores may need {} MiB, and there are {} MiB for them: fewer edges, or another \
                 directory (--stores)",
                needed >> 20,
                free >> 20
            );
        }
        Ok(())
    }

    fn bytes(&self) -> Result<u64> {
        let directories = 0..self.controls.len();
        let path = |number: usize| {
            let directory = self.directory.join(number.to_string());
            directory.join("store.redb")
        };
        let sizes = directories.map(|number| Ok(fs::metadata(path(number))?.len()));
        sizes.sum()
    }
}

/// Follows until all changes have come, says when each was taken, and waits to be ended.
///
/// # Errors
/// etcd does not answer, or there is no room.
pub fn follow(arguments: &EdgeArguments) -> Result<()> {
    stages::count();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(arguments.threads)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let stores = arguments.state.as_deref();
    let stores = stores.map(|state| Stores::make(arguments, state));
    runtime.block_on(run(arguments, stores.transpose()?.as_ref()))
}

/// Where the log ends now, as an edge without a store begins.
async fn end_of_log(url: &str) -> Result<Head> {
    let first = log(url, "first")?;
    let end = Instant::now() + PATIENCE;
    // A relay may not be there yet.
    loop {
        match first.head().await {
            Ok(known) => return Ok(known),
            Err(error) if Instant::now() > end => return Err(error.into()),
            Err(_not_yet) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn run(arguments: &EdgeArguments, stores: Option<&(Stores, Mark)>) -> Result<()> {
    let (whole, mut is_whole) = mpsc::unbounded_channel();
    let first = arguments.urls.first();
    let known = match stores {
        Some((_, mark)) => head(*mark),
        None => end_of_log(first.context("there is nothing to follow")?).await?,
    };
    let tally = Arc::new(Tally {
        count: usize::try_from(arguments.count)?,
        begin: known.revision,
        times: (0..arguments.changes).map(|_| Mutex::default()).collect(),
        whole,
    });
    let (mut standings, mut going) = (Vec::new(), Vec::new());
    for (number, url) in (0..arguments.count).zip(arguments.urls.iter().cycle()) {
        let name = format!("edge-{number}");
        let log = log(url, &name)?;
        let control = stores.and_then(|(stores, _)| {
            let index = usize::try_from(number).ok()?;
            stores.controls.get(index).cloned()
        });
        let taker = Taker {
            tally: tally.clone(),
            control: control.clone(),
        };
        let (follower, standing) = Follower::new(log.clone(), known, taker);
        tokio::spawn(follower.run());
        standings.push(standing);
        if let Some(control) = control {
            let (announcer, announcement) = Announcer::new(log.clone(), &name, json!({}))?;
            tokio::spawn(announcer.run());
            let (candidate, mandate) = Candidate::new(log)?;
            tokio::spawn(candidate.run());
            going.push(Going {
                control,
                announcement,
                _mandate: mandate,
            });
        }
    }
    for standing in &mut standings {
        standing.wait_for(|now| now.state == State::Current).await?;
    }
    for edge in &going {
        let mut state = edge.announcement.state();
        state
            .wait_for(|state| *state == PresenceState::Present)
            .await?;
    }
    tokio::spawn(async move {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            for edge in &going {
                edge.say(env!("CARGO_PKG_VERSION"));
            }
        }
    });
    println!("{READY}");
    let mut spent = stages::spent();
    for change in 1..=arguments.changes {
        is_whole.recv().await.context("the edges are gone")?;
        if change + 1 == arguments.changes {
            spent = stages::spent();
            println!("{ALL_BUT_ONE}");
        }
    }
    let times = tally.times.iter().map(|times| {
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.sort_unstable();
        TakenAt {
            half: times.get(times.len() / 2).copied().unwrap_or_default(),
            last: times.last().copied().unwrap_or_default(),
        }
    });
    let said = Said {
        taken: times.collect(),
        spent,
        stores: stores.map_or(Ok(0), |(stores, _)| stores.bytes())?,
    };
    println!("{}", serde_json::to_string(&said)?);
    std::future::pending::<()>().await;
    Ok(())
}
