//! Errors of commands, and their exit codes.

use super::table;
use crate::limits;
use config::ConfigErrors;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The gateway cannot be reached, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// There is no configuration file, and nothing says that none is meant.
    #[error(
        "there is no configuration: neither /etc/postern/postern.conf nor a drop-in exists. Write \
         one (postern.conf(5) lists the keys), name one with `--config FILE`, or run on the \
         defaults with `postern run --defaults`. To try Postern: `postern demo --state DIR`"
    )]
    NoConfiguration,
    /// The gateway cannot start until somebody mends what it was given, in words.
    #[error("{0}")]
    Unfit(String),
    /// Everything else, already in words.
    #[error("{0}")]
    Failed(String),
    /// Right for the parser, wrong for the command.
    #[error("{0}")]
    Usage(String),
}

impl CliError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(_) | Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Config(_) | Self::NoConfiguration | Self::Unfit(_) => 78,
        }
    }
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("{}", unreachable(at, why))]
    Unreachable {
        /// Where.
        at: String,
        /// What the kernel said.
        #[source]
        why: std::io::Error,
    },
    /// It did not answer in time.
    #[error("the gateway at {at} did not answer within {} s; its log may say why", limits::CLI_TIMEOUT.as_secs())]
    Timeout {
        /// Where.
        at: String,
    },
    /// It answered, but not as the admin API does.
    #[error(
        "the answer of {at} cannot be read: {why}; is this the admin API of a postern of this version?"
    )]
    Unreadable {
        /// Where.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// It refused.
    #[error("{}", table::harmless_lines(message))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its messages, one a line.
        message: String,
        /// JSON pointer to what the first is about.
        pointer: Option<String>,
    },
    /// No runtime for the one request.
    #[error("cannot start: {0}")]
    Runtime(#[source] std::io::Error),
}

impl ClientError {
    /// Whether who asks may not know, or the gateway does not.
    pub(crate) fn is_kept_back(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 403 | 404,
                ..
            }
        )
    }

    /// Whether the thing asked for does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

fn unreachable(socket: &str, why: &std::io::Error) -> String {
    match why.kind() {
        _ if socket.contains("://") => {
            format!("the admin API {socket} cannot be reached ({why}); is it `admin.listen` there?")
        }
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => format!(
            "no gateway listens at {socket} ({why}); start it with `postern run`, or name its socket with --socket or POSTERN_SOCKET"
        ),
        std::io::ErrorKind::PermissionDenied => format!(
            "the socket {socket} may not be used by this user; ask as root, or as a member of the socket's group"
        ),
        _ => format!("the gateway at {socket} cannot be reached: {why}"),
    }
}

/// Why an option does not take a value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ValueError(pub(crate) String);
