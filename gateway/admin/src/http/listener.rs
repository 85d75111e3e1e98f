//! The sockets of the admin API: a unix socket for users of this machine, and a TCP address for
//! clients with a token. Without TLS it must be a loopback address.
//!
//! Owns the takeover of a unix socket that a dead process left. Does not know what is served.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::tls::AdminTls;

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
    file: SocketFile,
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
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours {
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
        let (unix, file) = bind_unix(&listen.socket).await?;
        let tcp = match listen.tcp {
            None => None,
            Some(address) if listen.tls.is_none() && !address.ip().is_loopback() => {
                return Err(ServeError::NotLoopback(address));
            }
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|why| ServeError::Address { address, why })?)
            }
        };
        let tls = listen.tls.clone();
        Ok(Self {
            unix,
            tcp,
            tls,
            file,
        })
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
    Ok((
        listener,
        SocketFile {
            path: path.to_owned(),
            inode,
        },
    ))
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
