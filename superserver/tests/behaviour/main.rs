//! The superserver from outside: real sockets, real TLS, the real program.

mod calls;
mod logins;
mod program;
mod security;
mod support;
