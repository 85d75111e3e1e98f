//! `postern top`, in a real terminal (tmux) and for scripts, on a real gateway.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use fixtures::Directory;
use tests::tool::{self, has, run};
use tests::{Gateway, Origin, Setup, wait};

const HOST: &str = "api.example.test";
/// Between two looks at a screen.
const PAUSE: Duration = Duration::from_millis(50);

/// A terminal of tmux's, on a server of its own, until it is dropped.
struct Terminal {
    socket: String,
    _directory: Directory,
}

impl Terminal {
    /// Runs a shell in it: what the shell says after the command shows how the terminal was left.
    fn open(columns: u16, rows: u16, command: &str) -> Self {
        let directory = Directory::new();
        let terminal = Self {
            socket: directory.path().join("tmux").display().to_string(),
            _directory: directory,
        };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let shell = format!("PS1='back$ ' exec sh -c '{command}; echo left:$?; stty -a; exec cat'");
        let opened = terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            &shell,
        ]);
        assert_eq!(opened.code, 0, "{opened:?}");
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> tool::Outcome {
        let mut command = Command::new("tmux");
        command.args(["-S", &self.socket]).args(arguments);
        // The colours and titles of whoever runs the tests are none of this one's.
        command.env_remove("TMUX").env("TERM", "xterm-256color");
        run(&mut command)
    }

    fn keys(&self, keys: &[&str]) {
        let mut all = vec!["send-keys"];
        all.extend(keys);
        assert_eq!(self.tmux(&all).code, 0);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).out
    }

    /// Waits until the screen has every one of these.
    #[track_caller]
    fn shows(&self, wanted: &[&str]) -> String {
        self.shows_without(wanted, |_| false)
    }

    /// The same, and until it has no such line: a screen is drawn in pieces.
    #[track_caller]
    fn shows_without(&self, wanted: &[&str], is_old: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + wait::PATIENCE;
        loop {
            let screen = self.screen();
            let has_all = wanted.iter().all(|text| screen.contains(text));
            if has_all && !screen.lines().any(&is_old) {
                return screen;
            }
            let is_late = Instant::now() >= deadline;
            assert!(!is_late, "{wanted:?} alone is not on the screen:\n{screen}");
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.tmux(&["kill-server"]));
    }
}

fn top(gateway: &Gateway) -> String {
    let (program, socket) = (tool::postern(), gateway.file("admin.sock"));
    let (program, socket) = (program.display(), socket.display());
    format!("{program} --socket {socket} top --interval 0.5")
}

fn set_up(origin: &Origin) -> Gateway {
    Setup::new()
        .host(HOST, "request", &origin.url())
        .host("strict.example.test", "require", &origin.url())
        .host("down.example.test", "off", "http://127.0.0.1:9")
        .block(r#"http.request.uri.path eq "/no""#)
        .start()
}

/// Requests of every fate.
async fn busy(gateway: &Gateway) {
    let client = gateway.client(HOST);
    for path in ["/", "/", "/no"] {
        drop(client.get(path).await);
    }
    drop(gateway.client("down.example.test").get("/").await);
    drop(gateway.client("strict.example.test").get("/").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_screen_shows_what_happens_and_is_left_as_it_was() {
    if !has("tmux") {
        eprintln!("skipped: needs tmux");
        return;
    }
    let origin = Origin::echo();
    let mut gateway = set_up(&origin);
    busy(&gateway).await;
    let terminal = Terminal::open(80, 24, &top(&gateway));
    terminal.shows(&[
        "Postern",
        "running",
        "HOST",
        "REQ/S",
        HOST,
        "STAGE",
        "REFUSED",
        "not_presented",
        "q quit",
    ]);
    let mut rates = false;
    for _ in 0..100 {
        busy(&gateway).await;
        let screen = terminal.screen();
        let line = screen.lines().find(|line| line.starts_with(HOST));
        let rate = line.and_then(|line| line.split_whitespace().nth(1));
        rates = rate.is_some_and(|rate| rate != "0");
        if rates {
            break;
        }
    }
    assert!(rates, "{}", terminal.screen());
    terminal.keys(&["Tab"]);
    let url = origin.url();
    let address = url.strip_prefix("http://").unwrap();
    terminal.shows(&["WORKER", "ORIGIN", address]);
    terminal.keys(&["/", "s", "t", "r", "i", "c", "t", "Enter"]);
    terminal.shows_without(&["host: strict", "strict.example.test"], |line| {
        line.starts_with(HOST)
    });
    terminal.keys(&["Escape"]);
    terminal.shows(&[HOST, "by requests"]);
    terminal.keys(&["s"]);
    terminal.shows(&["by p50"]);
    terminal.keys(&["p"]);
    terminal.shows(&["PAUSED"]);
    terminal.keys(&["p"]);
    for (columns, rows) in [(120, 40), (60, 15), (30, 6), (10, 3), (80, 24)] {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let sized = terminal.tmux(&["resize-window", "-x", &columns, "-y", &rows]);
        assert_eq!(sized.code, 0, "{sized:?}");
        match columns.as_str() {
            "120" => terminal.shows(&["STAGE", "REFUSED", "WORKER", "ORIGIN"]),
            "10" => terminal.shows(&["too small"]),
            _ => terminal.shows(&[HOST, "REQ/S"]),
        };
    }
    // A gateway that is started anew is waited for, and then followed.
    gateway.stop();
    terminal.shows(&["waiting for the gateway"]);
    gateway.start();
    busy(&gateway).await;
    terminal.shows_without(&["q quit", "running"], |line| line.contains("waiting"));
    terminal.keys(&["q"]);
    let screen = terminal.shows(&["left:0", " echo", " icanon"]);
    assert!(
        !screen.contains("REQ/S"),
        "the other screen is gone: {screen}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_leaves_the_terminal_as_it_was() {
    if !has("tmux") {
        eprintln!("skipped: needs tmux");
        return;
    }
    let origin = Origin::echo();
    let gateway = set_up(&origin);
    let pid = gateway.file("top.pid");
    let command = format!("echo $$ > {}; exec {}", pid.display(), top(&gateway));
    let terminal = Terminal::open(
        80,
        24,
        &format!("sh -c \"{}\"", command.replace('$', "\\$")),
    );
    terminal.shows(&["Postern", "q quit"]);
    let pid = std::fs::read_to_string(pid).unwrap();
    let killed = run(Command::new("kill").args(["-TERM", pid.trim()]));
    assert_eq!(killed.code, 0, "{killed:?}");
    terminal.shows(&["left:0", " echo", " icanon"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_its_terminal() {
    if !has("tmux") {
        eprintln!("skipped: needs tmux");
        return;
    }
    let origin = Origin::echo();
    let gateway = set_up(&origin);
    let pid = gateway.file("top.pid");
    // What ends a program at once is ignored here, as a shell without job control leaves it.
    let command = format!(
        "trap '' HUP; echo $$ > {}; exec {}",
        pid.display(),
        top(&gateway)
    );
    let command = command.replace('$', "\\$");
    let terminal = Terminal::open(80, 24, &format!("sh -c \"{command}\""));
    terminal.shows(&["Postern", "q quit"]);
    let pid = std::fs::read_to_string(pid).unwrap();
    let process = PathBuf::from(format!("/proc/{}", pid.trim()));
    drop(terminal);
    wait::until("it to end", || (!process.exists()).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_get_one_frame_or_json() {
    let origin = Origin::echo();
    let gateway = set_up(&origin);
    busy(&gateway).await;
    let once = gateway.cli(&["top", "--once", "--interval", "0.5"]);
    assert_eq!(once.code, 0, "{once:?}");
    for wanted in [
        "Postern",
        HOST,
        "STAGE",
        "REFUSED",
        "not_presented",
        "WORKER",
        origin.url().strip_prefix("http://").unwrap(),
    ] {
        assert!(once.out.contains(wanted), "{wanted}: {}", once.out);
    }
    assert!(!once.out.contains('\u{1b}'), "{}", once.out);
    let json = gateway.cli(&["top", "--json", "--interval", "0.5"]).json();
    let hosts = json["hosts"].as_array().unwrap();
    assert!(hosts.iter().any(|host| host["host"] == HOST), "{json}");
    assert_eq!(json["workers"].as_array().unwrap().len(), 2);
    let refused = &json["refusals"][0];
    assert_eq!(
        (&refused["reason"], &refused["total"]),
        (&"not_presented".into(), &1.into())
    );
    // Without a terminal there is no live view, and without a gateway nothing at all.
    let nowhere = gateway.cli(&["top"]);
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
    assert!(nowhere.err.contains("--once"), "{nowhere:?}");
    let gone = run(Command::new(tool::postern()).args([
        "--socket",
        "/nonexistent/admin.sock",
        "top",
        "--once",
    ]));
    assert_eq!(gone.code, 1, "{gone:?}");
}
