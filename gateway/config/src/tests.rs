//! Whole files and directories of files.

use super::*;
use std::fs;

fn messages(text: &str) -> String {
    Config::parse(Path::new("p.conf"), text)
        .map_or_else(|errors| errors.to_string(), |_| String::new())
}

#[test]
fn a_whole_file() {
    let config = Config::parse(
        Path::new("p.conf"),
        "# Postern\n; also a comment\n\nlisten = 127.0.0.1:8443\nlisten = [::1]:8443, 127.0.0.2:8443\n\
         workers=3\nstore/path = /srv/s.redb\ntimeout.idle = 1m30s\nlimit.header_bytes = 32k\n\
         admin.listen = 127.0.0.1:9000\nlog.access = /var/log/x\nhost.default = API.example.com.\n\
         steer.mode = off\nforward.forwarded = yes\n",
    )
    .unwrap();
    assert_eq!(
        value::show_addresses(&config.listen),
        "127.0.0.1:8443, [::1]:8443, 127.0.0.2:8443"
    );
    assert_eq!(config.workers, 3);
    assert_eq!(config.store_path, Path::new("/srv/s.redb"));
    assert_eq!(config.tunables.idle_timeout, Duration::from_secs(90));
    assert_eq!(config.tunables.header_bytes_max, 32 * 1024);
    assert_eq!(
        config.access_log,
        AccessLogTarget::File("/var/log/x".into())
    );
    assert_eq!(config.default_host.unwrap().as_str(), "api.example.com");
    assert_eq!(config.steer_mode, SteerMode::Off);
    assert!(config.tunables.forwarded);
    assert_eq!(
        config.tunables.header_timeout,
        Config::default().tunables.header_timeout
    );
}

#[test]
fn every_error_is_told_with_its_place_and_a_suggestion() {
    let text = "timeout.idel = 5s\n\nworkers\nworkers = 0\nsteer.mode = kernal\nlisten = 127.0.0.1:1, 443\n\
                -timeout.idle = never\nhost/api.example.com/mtls/mode = require\ntimeout.idle = 5s\ntimeout.idle = 6s\n";
    assert_eq!(
        messages(text),
        "p.conf:1:1: unknown key `timeout.idel`
  1 | timeout.idel = 5s
    | ^^^^^^^^^^^^
  help: did you mean `timeout.idle`?
p.conf:3:1: this line has no `=`
  3 | workers
    | ^^^^^^^
  help: write `key = value`, or `#` before a comment
p.conf:4:11: `workers`: `0` is out of range
  4 | workers = 0
    |           ^
  help: write a whole number from 1 to 512
p.conf:5:14: `steer.mode`: `kernal` is not one of `auto`, `kernel`, `handoff`, `off`
  5 | steer.mode = kernal
    |              ^^^^^^
  help: did you mean `kernel`?
p.conf:6:23: `listen`: `443` is not an address with a port
  6 | listen = 127.0.0.1:1, 443
    |                       ^^^
  help: for every address of this machine write `*:443`
p.conf:8:1: `host/api.example.com/…`: hosts are not set in this file
  8 | host/api.example.com/mtls/mode = require
    | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  help: they live in the store: `postern host set api.example.com …` changes one; only `host/api.example.com/workers` is set here
p.conf:9:1: `timeout.idle` is set twice in this file, first in line 7
  9 | timeout.idle = 5s
    | ^^^^^^^^^^^^
  help: keep one of the two
p.conf:10:1: `timeout.idle` is set twice in this file, first in line 7
  10 | timeout.idle = 6s
     | ^^^^^^^^^^^^
  help: keep one of the two"
    );
}

#[test]
fn hosts_are_given_workers() {
    let config = Config::parse(
        Path::new("p.conf"),
        "workers = 4\nhost/API.example.com/workers = 2, 3\nhost/*.example.org/workers = 0\n",
    )
    .unwrap();
    let pins: Vec<_> = config
        .pins
        .iter()
        .map(|(host, workers)| (host.as_str(), workers.as_slice()))
        .collect();
    assert_eq!(
        pins,
        [("*.example.org", &[0][..]), ("api.example.com", &[2, 3])]
    );
    for (text, wanted) in [
        (
            "workers = 2\nhost/a.example/workers = 2",
            "p.conf:2:26: there is no worker 2: `workers` is 2",
        ),
        (
            "host/a.example/workers = 0\nhost/a.example/workers = x",
            "p.conf:2:26: `x` is no worker's number",
        ),
        (
            "host/a.example/workers = 1,1\nworkers = 3",
            "p.conf:1:26: the worker 1 is there twice",
        ),
        ("host/a b/workers = 1", "p.conf:1:7: a key has no blanks"),
        (
            "host/192.0.2.1/workers = 1",
            "p.conf:1:1: `192.0.2.1` is an IP address",
        ),
    ] {
        let found = messages(text);
        assert!(found.starts_with(wanted), "{text}: {found}");
    }
}

#[test]
fn keys_that_contradict_each_other() {
    for (text, wanted) in [
        (
            "limit.connections = 2\nworkers = 4",
            "p.conf:1:1: `limit.connections` leaves some of the 4 workers",
        ),
        (
            "admin.listen = 127.0.0.1:443",
            "p.conf:1:1: `admin.listen` 127.0.0.1:443 is taken by `listen` 0.0.0.0:443",
        ),
        (
            "store.path = /a\nlog.access = /a",
            "p.conf:2:1: `log.access` is the same file as `store.path`",
        ),
    ] {
        let found = messages(text);
        assert!(found.starts_with(wanted), "{text}: {found}");
    }
    assert_eq!(
        messages("admin.listen = 127.0.0.1:9000\nworkers = 1\nlimit.connections = 1"),
        ""
    );
}

/// A directory of its own that is removed again.
struct Root(PathBuf);

impl Root {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root =
            std::env::temp_dir().join(format!("postern-config-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&root));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn the_admin_socket_is_found_whatever_else_is_wrong() {
    let root = Root::new("socket", &[]);
    let asked = || Config::admin_socket_of(&Sources::below(&root.0));
    assert_eq!(asked(), Path::new("/run/postern/admin.sock"));
    for (file, text, socket) in [
        (
            "etc/postern/postern.conf",
            "# admin.socket = /no\nworkers = many\nadmin.socket=/a\nadmin.sockets = /no\n",
            "/a",
        ),
        ("usr/lib/postern.d/30.conf", "admin.socket = /b\n", "/b"),
        // Earlier by its name, whatever its folder.
        (
            "etc/postern/postern.d/20.conf",
            "admin.socket = /no\n",
            "/b",
        ),
        // In the place of the one of the same name.
        (
            "run/postern.d/30.conf",
            " -\tadmin/socket\t=  /c d \r\n",
            "/c d",
        ),
        ("etc/postern/postern.d/30.conf", "workers = 1\n", "/no"),
        ("run/postern.d/40.conf", "\u{feff}admin.socket = /e", "/e"),
        ("run/postern.d/.50.conf", "admin.socket = /no", "/e"),
        ("run/postern.d/50.conf.bak", "admin.socket = /no", "/e"),
        ("run/postern.d/60.conf", "no line at all\n", "/e"),
    ] {
        let path = root.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        assert_eq!(asked(), Path::new(socket), "{file}");
    }
}

#[test]
fn drop_ins_are_sorted_by_name_and_masked_by_the_stronger_directory() {
    let root = Root::new(
        "order",
        &[
            (
                "etc/postern/postern.conf",
                "workers = 1\nlisten = 127.0.0.1:1\nlimit.h2_streams = 7\n",
            ),
            (
                "usr/lib/postern.d/10-a.conf",
                "workers = 2\ntimeout.idle = 2s\n",
            ),
            ("run/postern.d/10-a.conf", "workers = 3\n"),
            (
                "etc/postern/postern.d/05-b.conf",
                "workers = 4\nlisten = 127.0.0.1:2\nlisten = 127.0.0.1:3\n",
            ),
            ("etc/postern/postern.d/notes.txt", "nonsense"),
            ("etc/postern/postern.d/.hidden.conf", "nonsense"),
            ("usr/lib/postern.d/90-masked.conf", "workers = 9\n"),
            ("etc/postern/postern.d/90-masked.conf", ""),
        ],
    );
    let loaded = Config::load(&Sources::below(&root.0)).unwrap();
    assert_eq!(
        loaded.config.workers, 3,
        "10-a.conf comes after 05-b.conf and /run masks /usr/lib"
    );
    assert_eq!(
        loaded.config.tunables.idle_timeout,
        Config::default().tunables.idle_timeout
    );
    assert_eq!(
        value::show_addresses(&loaded.config.listen),
        "127.0.0.1:2, 127.0.0.1:3"
    );
    assert_eq!(loaded.config.tunables.h2_streams_max, 7);
    assert_eq!(loaded.files.len(), 4);
}

#[test]
fn a_named_file_must_be_there_and_brings_the_drop_ins_beside_it() {
    let root = Root::new(
        "named",
        &[
            ("a.conf", "workers = 1\n"),
            ("a.d/x.conf", "-worker = 3\nworkers = 2\n"),
        ],
    );
    let loaded = Config::load(&Sources::file(&root.0.join("a.conf"))).unwrap();
    assert_eq!(loaded.config.workers, 2);
    assert_eq!(loaded.ignored.len(), 1);
    let errors = Config::load(&Sources::file(&root.0.join("b.conf"))).unwrap_err();
    assert!(
        errors.to_string().contains("b.conf: there is no such file"),
        "{errors}"
    );
    assert!(Config::load(&Sources::none()).is_ok());
}

#[test]
fn wrong_files_are_refused_without_reading_on() {
    let root = Root::new(
        "wrong",
        &[("a.d/x.conf", "workers = 1\n"), ("a.d/dir.conf/x", "")],
    );
    fs::write(root.0.join("a.conf"), b"workers = 1\n\xff\n").unwrap();
    fs::write(
        root.0.join("a.d/large.conf"),
        vec![b'#'; usize::try_from(limits::CONFIG_FILE_BYTES_MAX).unwrap() + 1],
    )
    .unwrap();
    std::os::unix::fs::symlink("/dev/null", root.0.join("a.d/null.conf")).unwrap();
    let errors = Config::load(&Sources::file(&root.0.join("a.conf")))
        .unwrap_err()
        .to_string();
    for wanted in [
        "line 2 is not UTF-8 text",
        "dir.conf: this is not a file",
        "large.conf: the file is larger",
    ] {
        assert!(errors.contains(wanted), "{wanted}: {errors}");
    }
    assert!(!errors.contains("null.conf"), "{errors}");
}
