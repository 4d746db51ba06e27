//! The gateway over real sockets: with a client of good manners, and with strangers.

mod clients;
mod stage;
mod strangers;
mod support;
