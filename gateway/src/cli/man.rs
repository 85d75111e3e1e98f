//! `postern man` and `postern completions`: generated from the commands and the table of keys. So is
//! the configuration file that packages install.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use clap_complete::Shell;

use super::complete::NAMED;
use super::output::{CliError, Output};
use config::{Change, KEYS};

/// Write the manual pages into a directory, and a configuration file with every key commented out
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The directory; created when it does not exist
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(self, commands: clap::Command) -> Output {
        let failed =
            |why: std::io::Error| CliError::Failed(format!("{}: {why}", self.directory.display()));
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        clap_mangen::generate_to(commands.disable_help_subcommand(true), &self.directory)
            .map_err(failed)?;
        write(&self.directory, "postern.conf.5", &postern_conf())?;
        write(&self.directory, "postern.conf", &sample())?;
        Ok(format!(
            "wrote the manual pages and a sample of postern.conf into {}\n",
            self.directory.display()
        ))
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), CliError> {
    let path = directory.join(name);
    std::fs::write(&path, text)
        .map_err(|why| CliError::Failed(format!("{}: {why}", path.display())))
}

/// Print a shell's completions
///
/// Names of zones, hosts, certificates, CAs, rules and lists come from the gateway that the command
/// line speaks to, while it answers at once; there is nothing to configure.
///
/// For bash: postern completions bash > /usr/share/bash-completion/completions/postern
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, commands: &mut clap::Command) -> String {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, commands, "postern", &mut out);
        let words = String::from_utf8_lossy(&out).into_owned();
        match self.shell {
            Shell::Bash => format!("{words}{BASH_NAMES}"),
            // The file is the body of the function `_postern`: what completes words gets another
            // name, and this one's place is taken.
            Shell::Zsh => words
                .replacen("_postern() {", "_postern_words() {", 1)
                .replacen(ZSH_TAIL, &format!("{ZSH_NAMES}{ZSH_TAIL}"), 1),
            Shell::Fish => format!("{words}{}", fish_names(commands)),
            _ => words,
        }
    }
}

/// Asks the gateway for names, and where it says none, completes words.
const BASH_NAMES: &str = r#"
_postern_names() {
    local cur names
    names=$("${COMP_WORDS[0]}" complete --index "$COMP_CWORD" -- "${COMP_WORDS[@]}" 2>/dev/null)
    if [[ -z $names ]]; then
        _postern "$@"
        return
    fi
    cur=${COMP_WORDS[COMP_CWORD]}
    [[ $cur == = ]] && cur=
    COMPREPLY=($(compgen -W "$names" -- "$cur"))
}

complete -F _postern_names -o bashdefault -o default postern
"#;

/// Where the functions of the script for zsh end.
const ZSH_TAIL: &str = "\nif [ \"$funcstack[1]\" = \"_postern\" ]";

const ZSH_NAMES: &str = r#"
_postern() {
    local -a names
    names=(${(f)"$($words[1] complete --index $((CURRENT - 1)) -- $words 2>/dev/null)"})
    if (( $#names )); then
        [[ $PREFIX == --*=* ]] && compset -P '*='
        compadd -a names
    else
        _postern_words "$@"
    fi
}
"#;

/// One line for positional words, and one for each option that takes a name.
fn fish_names(commands: &clap::Command) -> String {
    let mut longs = BTreeSet::new();
    let mut all = vec![commands];
    while let Some(command) = all.pop() {
        all.extend(command.get_subcommands());
        longs.extend(command.get_opts().filter_map(|option| {
            let named = option.get_value_names().is_some_and(|names| {
                names
                    .first()
                    .is_some_and(|name| NAMED.contains(&name.as_str()))
            });
            option.get_long().filter(|_| named)
        }));
    }
    let mut text = String::from(
        r#"
function __postern_names
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l word (commandline --current-token --cut-at-cursor)
    $words[1] complete --index (count $words) -- $words "$word" 2>/dev/null
end

complete -c postern -a '(__postern_names)'
"#,
    );
    for long in longs {
        text.push_str(&format!(
            "complete -c postern -l {long} -x -a '(__postern_names)'\n"
        ));
    }
    text
}

/// The page postern.conf(5) as roff.
fn postern_conf() -> String {
    let mut page = String::from(HEAD);
    for key in KEYS {
        let when = match key.change {
            Change::Live => "Live",
            Change::Reload => "Taken at SIGHUP",
            Change::Restart => "Taken at SIGHUP by a new process, store.path at a start",
        };
        page.push_str(&format!(
            ".TP\n\\fB{}\\fR = {}\n{}\n{}; default \\fB{}\\fR. {when}.\n",
            roff(key.name),
            roff(placeholder(&key.kind)),
            roff(key.doc),
            roff(&capital(&key.kind.describe())),
            roff(key.default),
        ));
    }
    page.push_str(TAIL);
    page
}

/// A configuration file in which every key has its default, commented out.
fn sample() -> String {
    let mut file = String::from(SAMPLE_HEAD);
    for key in KEYS {
        let when = match key.change {
            Change::Live => "live",
            Change::Reload => "taken at a reload",
            Change::Restart => "taken at a reload by a new process, `store.path` at a start",
        };
        file.push('\n');
        comment(key.doc, &mut file);
        comment(
            &format!("{}; {when}.", capital(&key.kind.describe())),
            &mut file,
        );
        file.push_str(&format!("#{} = {}\n", key.name, key.default));
    }
    file
}

/// Columns of a comment in the sample.
const SAMPLE_WIDTH: usize = 98;

/// Adds `text` as lines of a comment.
fn comment(text: &str, file: &mut String) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > SAMPLE_WIDTH {
            file.push_str(&line);
            file.push('\n');
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    file.push_str(&line);
    file.push('\n');
}

fn placeholder(kind: &config::Kind) -> &'static str {
    use config::Kind;
    match kind {
        Kind::Duration(..) => "DURATION",
        Kind::Size(..) => "SIZE",
        Kind::Count(..) | Kind::AutoCount(_) => "NUMBER",
        Kind::Switch => "on|off",
        Kind::Word(_) => "WORD",
        Kind::Words(_) => "WORDS",
        Kind::Addresses | Kind::AddressesOrOff | Kind::AddressOrOff => "ADDRESS",
        Kind::HostOrNone => "HOST",
        Kind::UrlOrNone => "URL",
        Kind::MailOrNone => "MAIL",
        Kind::WordOrNone => "WORD",
        Kind::LabelOrNone => "LABEL",
        Kind::MembersOrNone => "URL,…",
        Kind::UrlOrOff => "URL",
        Kind::Path | Kind::PathOrNone | Kind::PathOrAuto | Kind::Sink => "PATH",
        Kind::Interfaces | Kind::LogFields => "NAMES",
        Kind::NetworksOrNone => "NETWORKS",
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// A text as roff shows it: backslashes and hyphens escaped, no line that begins a request.
fn roff(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        out.push_str(
            &line
                .replace('\\', "\\e")
                .replace('-', "\\-")
                .replace('`', ""),
        );
        out.push('\n');
    }
    out.trim_end().to_owned()
}

const SAMPLE_HEAD: &str = "\
# Postern's configuration: postern.conf(5). One `key = value` in a line; what is commented out has its
# default. Drop-in files: /etc/postern/postern.d/*.conf. `postern check` finds mistakes before they
# matter, `systemctl reload postern` takes changes over, `postern sysctl -w KEY=VALUE` tries a key.
# Hosts, certificates and rules are not set here: `postern host`, `postern cert`, `postern rule`.
";

const HEAD: &str = r".TH POSTERN.CONF 5
.SH NAME
postern.conf \- configuration of the Postern gateway
.SH SYNOPSIS
.nf
/etc/postern/postern.conf
/etc/postern/postern.d/*.conf
/run/postern.d/*.conf
/usr/lib/postern.d/*.conf
.fi
.SH DESCRIPTION
Text in the style of sysctl.conf(5): one \fIkey\fR = \fIvalue\fR in a line. Lines that begin with
# or ; are comments. An error in a line that begins with \- is reported and otherwise ignored.
.PP
A key is written with dots or with slashes: timeout.idle and timeout/idle are the same. Where the
first separator is a slash, dots belong to the name around them, which is what host names need.
.PP
The main file is read first, then the drop\-in files of all directories, sorted together by file
name; the later wins. A file in /etc hides one of the same name in /run, and that one in /usr/lib;
a link to /dev/null hides without replacing. With \fB\-c\fR \fIFILE\fR only that file and the directory
beside it are read: postern.d for postern.conf.
.PP
Durations have a unit: 500ms, 5s, 2m, 1h, 1d, or several as in 1m30s. Sizes may end in k, m or g for
1024 and its powers. Items of a list are separated by commas or blanks.
.PP
\fBpostern check\fR reports every error with its place. A live key can be set in a running gateway
with \fBpostern sysctl \-w\fR; SIGHUP takes all live keys from the files again, and changes
nothing when one of them is wrong.
.PP
Zones, hosts, certificates and rules are not set here: see \fBpostern zone\fR, \fBpostern host\fR,
\fBpostern cert\fR and \fBpostern rule\fR.
.SH KEYS
";

const TAIL: &str = r".SH STEERING
With more than one worker each host has owners: workers that its new connections go to.
.TP
\fBhost/\fINAME\fB/workers\fR = \fINUMBERS\fR
The workers of one host, counted from 0, as in \fBhost/api.example.com/workers = 2, 3\fR. Taken at SIGHUP. When all of
them are dead, others take over.
.PP
While the kernel steers, net.ipv4.tcp_syncookies is 2 in this network namespace, each interface runs an XDP program, and
a socket lookup program is attached; \fBpostern steer status\fR lists this. All of it is undone at the end. After a crash
links and maps are gone with the process, the sysctl is put back at the next start, and until then cookies do no harm.
.PP
What is given up: with SYN cookies, window scaling and selective acknowledgement survive only for clients that send TCP
timestamps, and the MSS is one of four values. Connections to other listeners of the namespace get cookies as well. Which
connections lost their options \fBss \-ti\fR shows (no wscale, no sack, a smaller mss), and how many came by a cookie
\fBnstat \-az TcpExtSyncookiesRecv\fR. A client that says nothing for two minutes after connecting is answered with a reset
when it speaks, because no cookie is believed for longer and there was no socket.
.PP
With \fBsteer.interfaces = auto\fR and a listener on all addresses the program is on every Ethernet interface that has an
address, bridges and the host's ends of containers' links among them: connections can arrive at each, and one without the
program would bring them unsteered. A bridge runs it in the generic hook, at some cost to all that passes. Where
clients come by one interface only, name it in \fBsteer.interfaces\fR; loopback is never chosen by itself.
.PP
What the kernel does not steer, workers hand over to each other: a ClientHello of two segments (post\-quantum groups)
whose server name is in the second, unless that one arrives in the same receive batch; one spread over
several TLS records; a SYN that reuses a port in TIME_WAIT, which gets no cookie; whatever comes over an interface without
the program, loopback among them. \fBpostern_connections_handed_over_total\fR shows how often; of hellos of several segments,
the counter \fBsplit\fR less \fBjoined\fR.
.PP
Chromium 156 names the host in the first segment of Ethernet's size in 56 of 100 of its hellos, BoringSSL with permuted
extensions in about seven of ten; curl and openssl with OpenSSL 3.0 send one segment. For the others it depends on how the
interface receives. Segments that come one by one are steered where GRO is on (\fBethtool \-K\fR \fINAME\fR \fBgro on\fR) and
/sys/class/net/\fINAME\fR/gro_flush_timeout, in nanoseconds, lets a full segment wait for the next one that long: also one of any
other connection that is not the end of a burst. Postern leaves both as they are. \fBpostern steer trace\fR shows such a hello
as \fBsplit\fR and, when it was put together, once more as \fBsteered\fR; of one that was not, the access log says handoff under
steered, and \fBpostern steer status\fR HANDED OVER by host. Connections that have begun so are not turned away by
\fBsteer.drop_unknown\fR and its like.
.PP
With \fBsteer.synproxy\fR the XDP program answers SYNs, with the kernel's cookies and the options that the stack would answer
with. In a flood of SYNs it costs little more than half of what the stack's cookies cost. It needs native XDP on each
interface and no VLAN above one; otherwise the stack answers, and \fBpostern steer
status\fR says why. While it works, net.ipv4.tcp_timestamps is 2 unless it is 0: timestamps then tell how long the machine has
been up. Firewall rules and connection tracking do not see these SYNs (net.netfilter.nf_conntrack_tcp_loose must be 1), ECN is
not negotiated, and the answer leaves by the interface and to the neighbour that the SYN came from. Addresses, MTU and
buffer sizes are read at the start: SYNs to an address that came later are answered by the stack; after changing
net.ipv4.tcp_rmem, tcp_sack, tcp_window_scaling or tcp_timestamps, or taking an address away, restart. The end of a veth pair, as
containers have, takes what the other end's program sends only while it runs an XDP program itself or has GRO switched
on (\fBethtool \-K\fR \fINAME\fR \fBgro on\fR); otherwise the answers are lost and nobody can connect.
.SH SEE ALSO
postern(1), postern\-steer(1), sysctl.conf(5)
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_key_is_in_the_manual() {
        let page = postern_conf();
        for key in KEYS {
            assert!(
                page.contains(&format!("\\fB{}\\fR", roff(key.name))),
                "{}",
                key.name
            );
        }
        assert_eq!(roff(".x\na-b\\c"), "\\&.x\na\\-b\\ec");
    }

    #[test]
    fn the_sample_has_every_key_and_means_the_defaults() {
        let sample = sample();
        assert!(
            sample
                .lines()
                .all(|line| line.len() <= 102 && !line.ends_with(' '))
        );
        let directory = std::env::temp_dir().join(format!("postern-sample-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("postern.conf");
        for key in KEYS {
            let commented = format!("\n#{} = {}\n", key.name, key.default);
            assert!(sample.contains(&commented), "{}", key.name);
            // One by one: each may be taken in as it stands.
            let taken = sample.replace(&commented, &commented.replace("\n#", "\n"));
            std::fs::write(&file, taken).unwrap();
            let loaded = config::Config::load(&config::Sources::file(&file));
            assert!(loaded.is_ok(), "{}: {:?}", key.name, loaded.err());
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn pages_and_completions_are_made() {
        let directory = std::env::temp_dir().join(format!("postern-man-{}", std::process::id()));
        Man {
            directory: directory.clone(),
        }
        .run(Cli::command())
        .unwrap();
        for name in [
            "postern.1",
            "postern-rule-add.1",
            "postern-sysctl.1",
            "postern.conf.5",
            "postern.conf",
        ] {
            assert!(directory.join(name).exists(), "{name}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = Completions { shell }.run(&mut Cli::command());
            assert!(text.contains("postern"), "{shell}");
            // Each asks the gateway for names, and has the words of the commands beside them.
            for part in ["complete --index", "server-cert"] {
                assert!(text.contains(part), "{shell}: {part}");
            }
        }
    }
}
