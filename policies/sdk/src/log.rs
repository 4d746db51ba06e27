//! The one thing a policy can do to the world outside: say a line.
//!
//! Outside the sandbox, that is in native tests, lines go to standard error.

/// Says a line for the author.
pub fn debug(message: impl AsRef<str>) {
    say(Level::Debug, message.as_ref());
}

/// Says a line for the operator, in passing.
pub fn info(message: impl AsRef<str>) {
    say(Level::Info, message.as_ref());
}

/// Says a line for the operator to look at.
pub fn warn(message: impl AsRef<str>) {
    say(Level::Warn, message.as_ref());
}

#[derive(Clone, Copy, Debug)]
enum Level {
    Debug,
    Info,
    Warn,
}

#[cfg(target_arch = "wasm32")]
fn say(level: Level, message: &str) {
    use crate::wasm::manifest::baton::policy::log;

    let level = match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
    };
    log::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn say(level: Level, message: &str) {
    eprintln!("policy {level:?}: {message}");
}
