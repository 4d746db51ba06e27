//! Waiting for a condition, never for a time to pass.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Waits until the look gives something, at most for the bound; each look is cut off at the bound too.
///
/// `Ok(None)` is "not yet". An error is "not yet" too, for in a hurt cluster a look may fail; the last one is told
/// when the bound is reached.
///
/// # Errors
/// When the bound is reached.
pub async fn wait_until<T>(
    what: &str,
    bound: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + bound;
    let mut last = "it never held".to_owned();
    loop {
        match tokio::time::timeout_at(deadline.into(), look()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => "it never held".clone_into(&mut last),
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => last = format!("the last look did not end; before: {last}"),
        }
        if Instant::now() + LOOK_EVERY > deadline {
            bail!("waited {:.1} s for this: {what}; {last}", bound.as_secs_f64());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// As [`wait_until`], for a condition that gives nothing but whether it holds.
///
/// # Errors
/// When the bound is reached.
pub async fn wait_while_not(
    what: &str,
    bound: Duration,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    wait_until(what, bound, async || Ok(holds().await?.then_some(()))).await
}

/// Makes sure that something stays true for a while.
///
/// This is the one wait for a time: that something does *not* happen has no other proof.
///
/// # Errors
/// As soon as it does not hold, or a look fails.
pub async fn holds_for(
    what: &str,
    span: Duration,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        if !holds().await? {
            bail!("this did not hold for {:.1} s: {what}", span.as_secs_f64());
        }
        tokio::time::sleep(LOOK_EVERY * 4).await;
    }
    Ok(())
}
