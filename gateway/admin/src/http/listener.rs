//! The sockets of the admin API: a unix socket for users of this machine, and a TCP address for
//! clients with a token. Without TLS it must be a loopback address.
//!
//! Owns the takeover of a unix socket that a dead process left. Does not know what is served.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;

use super::tls::AdminTls;

/// Connections to the unix socket that wait, as many as tokio lets.
const UNIX_BACKLOG: i32 = 1024;

/// Where the admin API listens.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Unix socket, mode 0660.
    pub socket: PathBuf,
    /// Address for clients with a token.
    pub tcp: Option<SocketAddr>,
    /// TLS of that address; without it, it must be a loopback address.
    pub tls: Option<Arc<AdminTls>>,
}

/// Why the admin API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The other one answers.
    #[error(
        "another postern is running at {path}: stop it, or give this one its own `admin.socket`"
    )]
    Running {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket has the name.
    #[error(
        "{path} is there and is not a socket: move it away, or set `admin.socket` to another path"
    )]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error(
        "the admin socket {path} cannot be made: {why}. Its directory must exist or be creatable, and be writable"
    )]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// A path longer than the kernel takes.
    #[error("the admin socket's path {path} is too long: at most 107 bytes")]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// The address cannot be bound.
    #[error(
        "the admin address {address} cannot be bound: {why}; set `admin.listen` to another one, or `off`"
    )]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        why: io::Error,
    },
    /// Tokens would cross the network in clear.
    #[error(
        "the admin address {0} is not a loopback address: without `admin.tls_certificate` tokens would cross the network in clear"
    )]
    NotLoopback(SocketAddr),
}

/// Listening sockets. The unix socket's file goes with the value.
pub struct Bound {
    pub(crate) unix: UnixListener,
    pub(crate) tcp: Option<TcpListener>,
    pub(crate) tls: Option<Arc<AdminTls>>,
    /// Whether another process accepts.
    pub(crate) left: watch::Receiver<bool>,
    leaving: Arc<Leaving>,
    file: SocketFile,
}

/// Copies of the listening sockets, for another process.
pub struct Copies {
    /// Of the unix socket.
    pub unix: OwnedFd,
    /// Of the TCP address.
    pub tcp: Option<OwnedFd>,
}

/// The way to leave the sockets to another process.
pub struct Leaving {
    left: watch::Sender<bool>,
    /// The socket's name is another process's.
    keeps_file: AtomicBool,
    unix: OwnedFd,
    tcp: Option<OwnedFd>,
}

impl Leaving {
    /// Copies of the sockets.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn copies(&self) -> io::Result<Copies> {
        Ok(Copies {
            unix: self.unix.try_clone()?,
            tcp: self.tcp.as_ref().map(OwnedFd::try_clone).transpose()?,
        })
    }

    /// Accepts nothing more. Requests that are under way are answered. With `keeps_file` the socket's
    /// name stays: the other process has this socket.
    pub fn leave(&self, keeps_file: bool) {
        self.keeps_file.store(keeps_file, Ordering::Relaxed);
        self.left.send_replace(true);
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("socket", &self.file.path)
            .finish_non_exhaustive()
    }
}

/// Removes the socket when the process is done with it, unless another one has taken the name.
struct SocketFile {
    path: PathBuf,
    inode: u64,
    /// Another process goes on with it.
    stays: bool,
    leaving: Option<Arc<Leaving>>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        let stays = match &self.leaving {
            Some(leaving) => leaving.keeps_file.load(Ordering::Relaxed),
            None => self.stays,
        };
        if ours && !stays {
            // It may be gone already, which is as good.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Bound {
    /// Binds all sockets.
    ///
    /// # Errors
    /// See [`ServeError`]; nothing stays bound then.
    ///
    /// # Examples
    /// What would carry tokens over the network in clear is not bound:
    /// ```
    /// use admin::{Bound, Listen, ServeError};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    /// # runtime.block_on(async {
    /// let directory = std::env::temp_dir().join(format!("postern-{}", std::process::id()));
    /// let mut listen = Listen {
    ///     socket: directory.join("admin.sock"),
    ///     tcp: Some(([192, 0, 2, 1], 8443).into()),
    ///     tls: None,
    /// };
    /// let refused = Bound::bind(&listen).await;
    /// assert!(matches!(refused, Err(ServeError::NotLoopback(_))));
    /// assert!(!listen.socket.exists());
    ///
    /// listen.tcp = Some(([127, 0, 0, 1], 0).into());
    /// let bound = Bound::bind(&listen).await?;
    /// assert!(listen.socket.exists());
    /// drop(bound);
    /// assert!(!listen.socket.exists());
    /// # std::fs::remove_dir(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn bind(listen: &Listen) -> Result<Self, ServeError> {
        Self::take_over(listen, None, None).await
    }

    /// The same with sockets that another process had at the same places; what is missing is bound.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn take_over(
        listen: &Listen,
        unix: Option<OwnedFd>,
        tcp: Option<OwnedFd>,
    ) -> Result<Self, ServeError> {
        let (unix, file) = match unix {
            Some(unix) => taken_unix(&listen.socket, unix)?,
            None => bind_unix(&listen.socket).await?,
        };
        let tcp = match (listen.tcp, tcp) {
            (None, _) => None,
            (Some(address), _) if listen.tls.is_none() && !address.ip().is_loopback() => {
                return Err(ServeError::NotLoopback(address));
            }
            (Some(address), taken) => {
                let bound = match taken {
                    Some(taken) => TcpListener::from_std(taken.into()),
                    None => TcpListener::bind(address).await,
                };
                Some(bound.map_err(|why| ServeError::Address { address, why })?)
            }
        };
        Self::with(unix, tcp, listen.tls.clone(), file).map_err(|why| ServeError::Socket {
            path: listen.socket.clone(),
            why,
        })
    }

    fn with(
        unix: UnixListener,
        tcp: Option<TcpListener>,
        tls: Option<Arc<AdminTls>>,
        mut file: SocketFile,
    ) -> io::Result<Self> {
        let (sender, left) = watch::channel(false);
        let copy = |tcp: &TcpListener| tcp.as_fd().try_clone_to_owned();
        let leaving = Arc::new(Leaving {
            left: sender,
            keeps_file: AtomicBool::new(file.stays),
            unix: unix.as_fd().try_clone_to_owned()?,
            tcp: tcp.as_ref().map(copy).transpose()?,
        });
        file.leaving = Some(leaving.clone());
        Ok(Self {
            unix,
            tcp,
            tls,
            left,
            leaving,
            file,
        })
    }

    /// The sockets are this process's from now on. Those who connect to the unix socket are told so, and
    /// not of the one that opened it (`SO_PEERCRED` of unix(7) is what it was at the last listen(2)).
    ///
    /// # Errors
    /// The system refuses.
    pub fn announce(&self) -> io::Result<()> {
        self.leaving.keeps_file.store(false, Ordering::Relaxed);
        Ok(rustix::net::listen(&self.unix, UNIX_BACKLOG)?)
    }

    /// The way to leave the sockets to another process.
    #[must_use]
    pub fn leaving(&self) -> Arc<Leaving> {
        self.leaving.clone()
    }

    /// The address that is served, with the port that the kernel chose for port 0.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.local_addr().ok()
    }
}

async fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile), ServeError> {
    let failed = |why| ServeError::Socket {
        path: path.to_owned(),
        why,
    };
    // sun_path has 108 bytes with the final zero; the kernel's own words would not say so.
    if path.as_os_str().len() > 107 {
        return Err(ServeError::TooLong {
            path: path.to_owned(),
        });
    }
    if let Some(directory) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(failed)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServeError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => match UnixStream::connect(path).await {
            // Nobody listens: left behind by a process that was killed.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Whoever answers, or is too busy to, lives.
            Ok(_) => {
                return Err(ServeError::Running {
                    path: path.to_owned(),
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(ServeError::Running {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(failed(error)),
        },
    }
    // Bound under another name first: nobody may connect before the mode is right.
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let (bound_at, moves) = if draft.as_os_str().len() > 107 {
        (path.to_owned(), false)
    } else {
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => (draft, true),
        }
    };
    let listener = UnixListener::bind(&bound_at).map_err(failed)?;
    fs::set_permissions(&bound_at, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    if moves {
        fs::rename(&bound_at, path).map_err(failed)?;
    }
    let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
    let file = SocketFile {
        path: path.to_owned(),
        inode,
        stays: false,
        leaving: None,
    };
    Ok((listener, file))
}

/// A socket that is bound at `path` already.
fn taken_unix(path: &Path, socket: OwnedFd) -> Result<(UnixListener, SocketFile), ServeError> {
    let failed = |why| ServeError::Socket {
        path: path.to_owned(),
        why,
    };
    let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
    let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
    let file = SocketFile {
        path: path.to_owned(),
        inode,
        // Should this process not come to serve, the other one goes on with it.
        stays: true,
        leaving: None,
    };
    Ok((listener, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::Directory;

    fn listen(directory: &Directory) -> Listen {
        Listen {
            socket: directory.path().join("run/admin.sock"),
            tcp: None,
            tls: None,
        }
    }

    #[tokio::test]
    async fn taken_over_from_the_dead_only() {
        let directory = Directory::new();
        let listen = listen(&directory);
        let first = Bound::bind(&listen).await.unwrap();
        let mode = fs::metadata(&listen.socket).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o660);
        let error = Bound::bind(&listen).await.unwrap_err();
        assert!(matches!(error, ServeError::Running { .. }), "{error}");
        assert!(
            UnixStream::connect(&listen.socket).await.is_ok(),
            "the living one still answers"
        );
        drop(first);
        assert!(!listen.socket.exists());
        // What a killed process leaves behind.
        drop(std::os::unix::net::UnixListener::bind(&listen.socket).unwrap());
        assert!(listen.socket.exists());
        let second = Bound::bind(&listen).await.unwrap();
        drop(second);
    }

    #[tokio::test]
    async fn handed_on_to_another_process() {
        let directory = Directory::new();
        let listen = listen(&directory);
        let first = Bound::bind(&listen).await.unwrap();
        let waiting = UnixStream::connect(&listen.socket).await.unwrap();
        let leaving = first.leaving();
        let copies = leaving.copies().unwrap();
        let failed = Bound::take_over(&listen, Some(copies.unix), None).await;
        drop(failed.unwrap());
        assert!(listen.socket.exists(), "it is still the first one's");
        let elsewhere = Listen {
            tcp: Some("192.0.2.1:1".parse().unwrap()),
            ..listen.clone()
        };
        let copies = leaving.copies().unwrap();
        assert!(
            Bound::take_over(&elsewhere, Some(copies.unix), None)
                .await
                .is_err()
        );
        assert!(listen.socket.exists(), "it is still the first one's");
        let copies = leaving.copies().unwrap();
        let second = Bound::take_over(&listen, Some(copies.unix), None);
        let second = second.await.unwrap();
        second.announce().unwrap();
        leaving.leave(true);
        drop(first);
        assert!(listen.socket.exists(), "it is the second one's");
        assert!(second.unix.accept().await.is_ok(), "who waited is not lost");
        drop(waiting);
        drop(second);
        assert!(!listen.socket.exists());
    }

    #[tokio::test]
    async fn refused_places() {
        let directory = Directory::new();
        let mut listen = listen(&directory);
        listen.socket = directory.path().join("file");
        fs::write(&listen.socket, b"important").unwrap();
        let error = Bound::bind(&listen).await.unwrap_err();
        assert!(matches!(error, ServeError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read(&listen.socket).unwrap(), b"important");
        listen.socket = directory.path().join("x".repeat(120));
        let error = Bound::bind(&listen).await.unwrap_err();
        assert!(matches!(error, ServeError::TooLong { .. }), "{error}");
        listen.socket = "/proc/admin.sock".into();
        let error = Bound::bind(&listen).await.unwrap_err();
        assert!(matches!(error, ServeError::Socket { .. }), "{error}");
        listen.socket = directory.path().join("ok");
        listen.tcp = Some("192.0.2.1:1".parse().unwrap());
        let error = Bound::bind(&listen).await.unwrap_err();
        assert!(matches!(error, ServeError::NotLoopback(_)), "{error}");
        assert!(!listen.socket.exists(), "nothing stays bound");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listen.tcp = Some(taken.local_addr().unwrap());
        let error = Bound::bind(&listen).await.unwrap_err();
        assert!(matches!(error, ServeError::Address { .. }), "{error}");
    }
}
