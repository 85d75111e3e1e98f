//! The API over a real unix socket.
