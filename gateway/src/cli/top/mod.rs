//! `postern top`: what the gateway does, live.
//!
//! Owns the terminal, the keys, and the thread that reads counters; a gateway that does not answer is
//! waited for. [`reading`] makes rates of counters, [`view`] draws them, [`numbers`] writes numbers for
//! people. The terminal is as it was when this ends, by a signal or a panic, too.

mod numbers;
mod reading;
mod view;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};

use self::reading::Reading;
use self::view::{Column, View};
use super::client::Client;
use super::client::names::OWN;
use super::client::target::Target;
use super::output::table::harmless;
use super::output::{CliError, Output, json_text};

/// How often keys and readings are looked for: what a person takes for at once.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is looked whether there is a terminal.
const TERMINAL_LOOK: Duration = Duration::from_secs(1);
/// How long the screen has to end by itself once it is asked to.
const END_WAIT: Duration = Duration::from_millis(500);
/// Columns of `--once` where there is no terminal to ask.
const COLUMNS: u16 = 100;
/// Characters of a host's name that can be typed: the longest that DNS has.
const FILTER_MAX: usize = 253;
/// Seconds between two readings: less costs the gateway more than it tells, more is no live view.
const INTERVALS: [f64; 7] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// What the gateway does, live: hosts, handshakes, refusals, latency by stage, workers, origins
///
/// Rates are of the time between two readings of the gateway's counters. Keys: q quits, s sorts by the
/// next column, p holds still, / shows only hosts with a text in their name, ? has them all.
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    /// Seconds between two readings, 0.5 to 60
    #[arg(long, short, value_name = "SECONDS", default_value_t = 2.0, value_parser = interval)]
    interval: f64,
    /// Print one frame as text, of everything, and end
    #[arg(long)]
    once: bool,
    /// Only hosts with this in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    host: String,
    /// What hosts are sorted by: requests, p50, p99, blocked, 4xx, 5xx, full, resumed, refused, sent,
    /// received or host
    #[arg(long, value_name = "COLUMN", default_value_t = Column::Requests)]
    sort: Column,
}

fn interval(text: &str) -> Result<f64, String> {
    let [least, .., most] = INTERVALS;
    match text.parse::<f64>() {
        Ok(seconds) if (least..=most).contains(&seconds) => Ok(seconds),
        _ => Err(format!(
            "a number of seconds from {least} to {most} is expected"
        )),
    }
}

impl Top {
    pub(super) fn run(self, target: &Target, json: bool) -> Output {
        let client = Client::new(target)?;
        if self.once || json {
            return self.once(&client, json);
        }
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return Err(CliError::Usage(
                "standard input and output are no terminal: `postern top --once` prints one frame, `--json` \
                 what it is made of"
                    .into(),
            ));
        }
        drop(client);
        self.live(target)
    }

    fn once(&self, client: &Client, json: bool) -> Output {
        let before = read(client)?;
        thread::sleep(Duration::from_secs_f64(self.interval));
        let rates = read(client)?.since(&before);
        let mut view = View::new(self.sort, harmless(&self.host), self.interval);
        if json {
            return Ok(json_text(&rates.to_json()));
        }
        view.rates = Some(rates);
        Ok(view.text(columns()))
    }

    fn live(&self, target: &Target) -> Output {
        let (news, inbox) = channel();
        let interval = Arc::new(AtomicU64::new(milliseconds(self.interval)));
        let failed = |why| CliError::Failed(format!("a thread cannot be started: {why}"));
        let (endpoint, to, pace) = (target.clone(), news.clone(), interval.clone());
        let nudge = {
            let (nudge, nudged) = channel();
            thread::Builder::new()
                .name("readings".into())
                .spawn(move || gather(&endpoint, &to, &nudged, &pace))
                .map_err(failed)?;
            nudge
        };
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || until_signalled(&news))
            .map_err(failed)?;
        let no_terminal = |why| CliError::Failed(format!("the terminal: {why}"));
        let mut terminal = ratatui::try_init().map_err(no_terminal)?;
        let mut screen = Screen {
            view: View::new(self.sort, harmless(&self.host), self.interval),
            before: None,
            interval,
            nudge,
        };
        let shown = screen.show(&mut terminal, &inbox);
        ratatui::restore();
        shown.map(|()| String::new())
    }
}

fn milliseconds(seconds: f64) -> u64 {
    let interval = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(2));
    u64::try_from(interval.as_millis()).unwrap_or(2_000)
}

/// Columns of the terminal, or what stands for them.
fn columns() -> u16 {
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    let columns = terminal.map(|(columns, _)| columns.0).or_else(said);
    columns.unwrap_or(COLUMNS).clamp(40, 500)
}

fn read(client: &Client) -> Result<Reading, CliError> {
    let answer = client.get(&format!("{OWN}/counters"))?;
    Ok(Reading::read(&answer))
}

/// What comes to the screen from other threads.
enum News {
    Reading(Box<Reading>),
    /// There is none, and why.
    Waiting(String),
    /// A signal asks to end.
    End,
}

/// Reads counters again and again, until nobody wants them.
fn gather(target: &Target, to: &Sender<News>, nudged: &Receiver<()>, interval: &AtomicU64) {
    loop {
        let read = Client::new(target).and_then(|client| read(&client));
        let news = match read {
            Ok(reading) => News::Reading(Box::new(reading)),
            Err(error) => News::Waiting(harmless(&error.to_string())),
        };
        if to.send(news).is_err() {
            return;
        }
        let pause = Duration::from_millis(interval.load(Ordering::Relaxed));
        match nudged.recv_timeout(pause) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Waits for a signal that would else end the process with the terminal as it is, or for the terminal's end.
fn until_signalled(to: &Sender<News>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let all = [
            signal(SignalKind::terminate()),
            signal(SignalKind::hangup()),
            signal(SignalKind::interrupt()),
        ];
        let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = all else {
            return;
        };
        let mut look = tokio::time::interval(TERMINAL_LOOK);
        let gone = async {
            while terminal_size::terminal_size_of(std::io::stdout()).is_some() {
                look.tick().await;
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
            () = gone => {}
        }
    });
    // The screen may have ended by itself.
    drop(to.send(News::End));
    // A terminal that is gone is read for ever (crossterm reads its end again and again): then the screen
    // does not hear of this.
    thread::sleep(END_WAIT);
    ratatui::restore();
    std::process::exit(0);
}

/// The screen while it is shown.
struct Screen {
    view: View,
    before: Option<Reading>,
    interval: Arc<AtomicU64>,
    nudge: Sender<()>,
}

impl Screen {
    fn show(
        &mut self,
        terminal: &mut DefaultTerminal,
        inbox: &Receiver<News>,
    ) -> Result<(), CliError> {
        let failed = |why: std::io::Error| CliError::Failed(format!("the terminal: {why}"));
        loop {
            let drawn = terminal.draw(|frame| {
                let area = frame.area();
                self.view.draw(area, frame.buffer_mut());
            });
            let columns = drawn.map_err(failed)?.area.width;
            let mut has_changed = false;
            while !has_changed {
                loop {
                    match inbox.try_recv() {
                        Ok(News::End) => return Ok(()),
                        Ok(news) => {
                            self.learn(news);
                            has_changed = true;
                        }
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => {
                            return Err(CliError::Failed(
                                "nobody reads the counters any more".into(),
                            ));
                        }
                    }
                }
                while event::poll(if has_changed { Duration::ZERO } else { LOOK })
                    .map_err(failed)?
                {
                    has_changed = true;
                    // What is no key is a new size, in which it is drawn.
                    if let Event::Key(key) = event::read().map_err(failed)?
                        && key.kind != KeyEventKind::Release
                        && self.key(key, columns)
                    {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Reading(reading) => {
                self.view.waiting = None;
                if let (Some(before), false) = (&self.before, self.view.is_paused) {
                    self.view.rates = Some(reading.since(before));
                } else if self.view.rates.is_none() {
                    // What is now is known before what happens in a second is.
                    self.view.rates = Some(reading.since(&reading));
                }
                self.before = Some(*reading);
            }
            News::Waiting(why) => self.view.waiting = Some(why),
            News::End => {}
        }
    }

    /// Does what a key asks for; whether it is to end.
    fn key(&mut self, key: KeyEvent, columns: u16) -> bool {
        let view = &mut self.view;
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return true;
        }
        if view.is_typing {
            match key.code {
                KeyCode::Enter => view.is_typing = false,
                KeyCode::Esc => {
                    view.is_typing = false;
                    view.filter.clear();
                }
                KeyCode::Backspace => drop(view.filter.pop()),
                KeyCode::Char(typed) if !is_control && view.filter.len() < FILTER_MAX => {
                    view.filter.push_str(&harmless(&typed.to_string()));
                }
                _ => {}
            }
            view.scrolled = 0;
            return false;
        }
        match key.code {
            KeyCode::Char('q') => return true,
            KeyCode::Esc if view.has_help => view.has_help = false,
            KeyCode::Esc if !view.filter.is_empty() => view.filter.clear(),
            KeyCode::Esc => return true,
            KeyCode::Char('s') => view.sort = view.sort.next(false),
            KeyCode::Char('S') => view.sort = view.sort.next(true),
            KeyCode::Char('r') => view.is_reversed = !view.is_reversed,
            KeyCode::Char('p' | ' ') => view.is_paused = !view.is_paused,
            KeyCode::Char('/') => view.is_typing = true,
            KeyCode::Char('?' | 'h') => view.has_help = !view.has_help,
            KeyCode::Tab => view.next_panel(columns),
            KeyCode::Char('+') => self.pace(false),
            KeyCode::Char('-') => self.pace(true),
            KeyCode::Down => view.scrolled = (view.scrolled + 1).min(view.hosts().len()),
            KeyCode::Up => view.scrolled = view.scrolled.saturating_sub(1),
            KeyCode::PageDown => view.scrolled = (view.scrolled + 10).min(view.hosts().len()),
            KeyCode::PageUp => view.scrolled = view.scrolled.saturating_sub(10),
            KeyCode::Home => view.scrolled = 0,
            _ => {}
        }
        false
    }

    /// Reads less often, or more often.
    fn pace(&mut self, faster: bool) {
        let now = self.view.interval_sec;
        let next = if faster {
            INTERVALS.into_iter().rev().find(|seconds| *seconds < now)
        } else {
            INTERVALS.into_iter().find(|seconds| *seconds > now)
        };
        if let Some(next) = next {
            self.view.interval_sec = next;
            self.interval.store(milliseconds(next), Ordering::Relaxed);
            // It may wait for a minute to pass.
            let _ended = self.nudge.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reading::tests::reading;
    use super::*;

    fn screen() -> Screen {
        Screen {
            view: View::new(Column::Requests, String::new(), 2.0),
            before: None,
            interval: Arc::new(AtomicU64::new(2_000)),
            nudge: channel().0,
        }
    }

    fn news(reading: Reading) -> News {
        News::Reading(Box::new(reading))
    }

    fn press(screen: &mut Screen, code: KeyCode) -> bool {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE), 80)
    }

    fn requests(screen: &Screen) -> f64 {
        let rates = screen.view.rates.as_ref().unwrap();
        rates.hosts[0].requests
    }

    #[test]
    fn keys_do_what_the_help_says() {
        let mut screen = screen();
        for (code, ends) in [
            (KeyCode::Char('s'), false),
            (KeyCode::Char('p'), false),
            (KeyCode::Char('?'), false),
            (KeyCode::Esc, false),
            (KeyCode::Char('/'), false),
            (KeyCode::Char('q'), false),
            (KeyCode::Enter, false),
            (KeyCode::Esc, false),
            (KeyCode::Tab, false),
            (KeyCode::Up, false),
            (KeyCode::Down, false),
            (KeyCode::Esc, true),
            (KeyCode::Char('q'), true),
        ] {
            assert_eq!(press(&mut screen, code), ends, "{code:?}");
        }
        assert_eq!(screen.view.sort, Column::P50);
        assert!(screen.view.is_paused && screen.view.filter.is_empty());
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(screen.key(control_c, 80));
        for _ in 0..20 {
            press(&mut screen, KeyCode::Char('+'));
        }
        assert_eq!(screen.interval.load(Ordering::Relaxed), 60_000);
        for _ in 0..20 {
            press(&mut screen, KeyCode::Char('-'));
        }
        assert_eq!(screen.view.interval_sec, 0.5);
    }

    #[test]
    fn a_gateway_that_is_gone_is_waited_for() {
        let mut screen = screen();
        screen.learn(News::Waiting("nobody listens".into()));
        assert!(screen.view.rates.is_none() && screen.view.waiting.is_some());
        screen.learn(news(Reading::read(&reading(10.0, 40))));
        assert!(screen.view.waiting.is_none());
        assert_eq!(requests(&screen), 0.0);
        screen.learn(news(Reading::read(&reading(12.0, 100))));
        assert_eq!(requests(&screen), 60.0);
        screen.learn(News::Waiting("nobody listens".into()));
        assert_eq!(requests(&screen), 60.0, "what was last known stays");
        screen.learn(news(Reading::read(&reading(1.0, 3))));
        assert_eq!(requests(&screen), 0.0);
        screen.learn(news(Reading::read(&reading(2.0, 5))));
        assert_eq!(requests(&screen), 4.0);
        press(&mut screen, KeyCode::Char('p'));
        screen.learn(news(Reading::read(&reading(3.0, 50))));
        assert_eq!(requests(&screen), 4.0, "it holds still");
    }

    #[test]
    fn intervals_have_bounds() {
        for (text, is_good) in [
            ("2", true),
            ("0.5", true),
            ("60", true),
            ("0.1", false),
            ("61", false),
            ("x", false),
            ("NaN", false),
        ] {
            assert_eq!(interval(text).is_ok(), is_good, "{text}");
        }
    }
}
