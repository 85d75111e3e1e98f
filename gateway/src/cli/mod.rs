//! The command line: parses arguments, makes one call, prints a table for people or `--json` for
//! scripts.
//!
//! Owns the commands, their texts, and exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong
//! configuration (EX_CONFIG of sysexits.h, after which systemd does not restart). Commands that
//! change a gateway use its admin API; none of them opens the store of a running one.

mod audit;
mod ca;
mod cert;
mod check;
mod client;
mod complete;
mod crl;
mod dashboard;
mod demo;
mod deny;
mod doctor;
mod document;
mod explain;
mod fleet;
mod host;
mod list;
mod log;
mod man;
mod ocsp;
mod origin;
pub(crate) mod output;
mod reload;
mod rule;
mod run;
mod server_cert;
mod status;
mod steer;
mod store;
mod sysctl;
#[cfg(test)]
mod tests;
mod token;
mod top;
mod upgrade;
mod zone;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::client::Client;
use self::client::target::Target;
use self::output::{CliError, Output, print};
use self::run::ConfigFile;

pub use self::output::ClientError;

/// A mutual-TLS gateway: asks clients for certificates, evaluates rules on every request, and
/// forwards what they permit.
#[derive(Debug, Parser)]
#[command(
    name = "postern",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// Print what the API answered, as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,

    /// Check the configuration and exit, as `postern check`
    #[arg(short = 't', conflicts_with = "json")]
    test: bool,

    /// The configuration file of `-t`
    #[arg(short, value_name = "FILE", requires = "test")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.
Configuration: /etc/postern/postern.conf, see postern.conf(5). To try it: postern demo --state /tmp/postern";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway in the foreground
    ///
    /// SIGTERM finishes running requests and stops; a second one stops at once. SIGHUP reloads the
    /// configuration files, SIGUSR1 reopens the access log, SIGUSR2 has a new process of the same path
    /// take over.
    Run(run::Run),
    /// Check the configuration files, and the store if it exists
    Check(ConfigFile),
    /// Run a gateway with an example zone, a client certificate and an echo origin
    Demo(demo::Demo),
    /// Zones: administrative units that own hosts, rules, a CA
    #[command(subcommand)]
    Zone(zone::Zone),
    /// Hosts: SNI names with their origin and mTLS mode
    #[command(subcommand)]
    Host(host::Host),
    /// Origins of zones: addresses that hosts and origin rules share by a name
    #[command(subcommand)]
    Origin(origin::Origin),
    /// Client certificates of a zone's managed CA
    #[command(subcommand)]
    Cert(cert::Cert),
    /// Server certificates of hosts, and those that nothing uses any more
    #[command(subcommand)]
    ServerCert(server_cert::ServerCert),
    /// CAs of client certificates: a zone's own ones and their rollover, and uploaded ones
    #[command(subcommand)]
    Ca(ca::Ca),
    /// Revocation lists of uploaded CAs
    #[command(subcommand)]
    Crl(crl::Crl),
    /// OCSP responders for the client certificates of uploaded CAs
    #[command(subcommand)]
    Ocsp(ocsp::Ocsp),
    /// Certificates of uploaded CAs that are not believed, although their CA publishes nothing
    #[command(subcommand)]
    Deny(deny::Deny),
    /// Rules of a zone, in the order of evaluation
    #[command(subcommand)]
    Rule(rule::Rule),
    /// Lists of addresses, host names or AS numbers that rules name
    #[command(subcommand)]
    List(list::Lists),
    Dashboard(dashboard::Dashboard),
    /// Tokens for clients that reach the admin API over TCP
    #[command(subcommand)]
    Token(token::Token),
    /// Who changed what, and when: newest first
    Audit(audit::Audit),
    /// Read and tune configuration keys of a running gateway
    Sysctl(sysctl::Sysctl),
    Export(document::Export),
    Apply(document::Apply),
    /// The store's file: verify, back up, restore
    #[command(subcommand)]
    Store(store::Store),
    Reload(reload::Reload),
    Upgrade(upgrade::Upgrade),
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    Log(log::Log),
    /// The state of a running gateway
    Status,
    Top(top::Top),
    /// Check that hosts have what mutual TLS needs, and how to mend what they lack
    ///
    /// Exit code 1 when a host lacks something without which mutual TLS does not work or does not
    /// protect.
    Doctor(doctor::Doctor),
    Explain(explain::Explain),
    /// Steering of connections to the worker that owns their host
    #[command(subcommand)]
    Steer(steer::Steer),
    /// Write the manual pages into a directory
    Man(man::Man),
    /// Print a shell's completions
    Completions(man::Completions),
    /// Print the names that a word of a command line may be
    #[command(hide = true)]
    Complete(complete::Complete),
}

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        _ if cli.test => check::check(&ConfigFile { config: cli.config }.sources(), false),
        Some(command) => command.run(&cli.target, cli.json),
        None => Err(CliError::Usage(Cli::command().render_help().to_string())),
    };
    match result {
        Ok(text) => print(&text),
        Err(error) => {
            let text = error.to_string();
            // Nothing is left to tell when even this fails.
            drop(writeln!(std::io::stderr(), "postern: {}", text.trim_end()));
            ExitCode::from(error.exit_code())
        }
    }
}

impl Command {
    /// Every command with its options, for pages and completions.
    fn whole() -> clap::Command {
        Cli::command()
    }

    /// Refuses `--json` where there is no answer that could be JSON. What `man` and `completions` write
    /// is for other programs, and the same with it.
    fn refuse_json(&self) -> Result<(), CliError> {
        let why = match self {
            Self::Run(_) => {
                "`postern run` is the gateway and answers nothing that could be JSON; leave --json away. \
                 `postern status --json` asks the one that runs, and `log.access.format = json` is for its \
                 access log"
            }
            Self::Demo(_) => {
                "`postern demo` prints commands for people to paste, and then is a gateway; leave --json \
                 away. `postern status --json` with its socket asks the one that runs"
            }
            _ => return Ok(()),
        };
        Err(CliError::Usage(why.into()))
    }

    fn run(self, target: &Target, json: bool) -> Output {
        if json {
            self.refuse_json()?;
        }
        let client = || Client::new(target);
        match self {
            Self::Run(run) => run.run(),
            Self::Demo(demo) => demo.run(),
            Self::Check(file) => check::check(&file.sources(), json),
            Self::Zone(zone) => zone.run(&client()?, json),
            Self::Host(host) => host.run(&client()?, json),
            Self::Origin(origin) => origin.run(&client()?, json),
            Self::Cert(cert) => cert.run(&client()?, json),
            Self::ServerCert(cert) => cert.run(&client()?, json),
            Self::Ca(ca) => ca.run(&client()?, json),
            Self::Crl(crl) => crl.run(&client()?, json),
            Self::Deny(deny) => deny.run(&client()?, json),
            Self::Ocsp(ocsp) => ocsp.run(&client()?, json),
            Self::Rule(rule) => rule.run(&client()?, json),
            Self::List(list) => list.run(&client()?, json),
            Self::Dashboard(dashboard) => dashboard.run(target, &client()?, json),
            Self::Token(token) => token.run(&client()?, json),
            Self::Audit(audit) => audit.run(&client()?, json),
            Self::Sysctl(sysctl) => sysctl.run(&client()?, json),
            Self::Export(export) => export.run(&client()?, json),
            Self::Apply(apply) => apply.run(&client()?, json),
            Self::Store(store) => store.run(client, json),
            Self::Reload(reload) => reload.run(target, &client()?, json),
            Self::Upgrade(upgrade) => upgrade.run(&client()?, json),
            Self::Fleet(fleet) => fleet.run(&client()?, json),
            Self::Log(log) => log.run(client, json),
            Self::Status => status::status(&client()?, json),
            Self::Top(top) => top.run(target, json),
            Self::Doctor(doctor) => doctor.run(&client()?, json),
            Self::Explain(explain) => explain.run(json),
            Self::Steer(steer) => steer.run(&client()?, json),
            Self::Man(man) => man.run(Self::whole()),
            Self::Complete(complete) => complete.run(Self::whole()),
            Self::Completions(completions) => Ok(completions.run(&mut Self::whole())),
        }
    }
}
