//! Makes whoever guesses passwords wait.
//!
//! A user who failed to log in a few times from a host is refused from there, whatever the password, for a time that
//! doubles with each further failure. Other users, and the same user from elsewhere, are not concerned. A host is an
//! address as it is seen here, so that the clients of a load balancer are one: whoever keeps trying a wrong password there
//! locks its user out for all of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So often in a row a login may fail without consequence.
const FREE_FAILURES: u32 = 5;
/// The first lock-out; each further failure doubles it.
const FIRST_LOCKOUT: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_LOCKOUT: Duration = Duration::from_secs(60);
/// A failure is forgotten after this.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// Users and hosts that are remembered, at most; beyond that the oldest failure is forgotten.
const REMEMBERED_MAX: usize = 4096;
/// Users of one host that are remembered, at most: one that invents names makes itself forget, and nobody else.
const REMEMBERED_OF_HOST_MAX: usize = 64;

/// Who failed to log in lately.
#[derive(Debug, Default)]
pub(crate) struct Lockout(Mutex<BTreeMap<(IpAddr, String), Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn locked_for(self) -> Duration {
        let Some(beyond) = self.count.checked_sub(FREE_FAILURES) else { return Duration::ZERO };
        FIRST_LOCKOUT.saturating_mul(1 << beyond.min(16)).min(LONGEST_LOCKOUT)
    }
}

impl Lockout {
    /// For how long this user is still refused from this host; zero if it may try.
    pub(crate) fn left(&self, host: IpAddr, user: &str, now: Instant) -> Duration {
        let host = network_of(host);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = known.get(&(host, user.to_owned()));
        failures.map_or(Duration::ZERO, |failures| {
            failures.locked_for().saturating_sub(now.duration_since(failures.last))
        })
    }

    /// A login failed.
    pub(crate) fn failed(&self, host: IpAddr, user: &str, now: Instant) {
        let host = network_of(host);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = known.entry((host, user.to_owned())).or_insert(Failures { count: 0, last: now });
        if now.duration_since(failures.last) > REMEMBERED {
            failures.count = 0;
        }
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
        let of_host = || known.range((host, String::new())..).take_while(|((of, _), _)| *of == host);
        let oldest = if of_host().count() > REMEMBERED_OF_HOST_MAX {
            of_host().min_by_key(|(_, failures)| failures.last).map(|(who, _)| who.clone())
        } else if known.len() > REMEMBERED_MAX {
            known.iter().min_by_key(|(_, failures)| failures.last).map(|(who, _)| who.clone())
        } else {
            None
        };
        if let Some(oldest) = oldest {
            known.remove(&oldest);
        }
    }

    /// A login succeeded.
    pub(crate) fn succeeded(&self, host: IpAddr, user: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(network_of(host), user.to_owned()));
    }
}

/// What counts as one host: of IPv6 a network of 64 bits, for whoever has one of its addresses has them all.
fn network_of(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(_) => host,
        IpAddr::V6(host) => Ipv6Addr::from_bits(host.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn host(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn fail(lockout: &Lockout, times: u32, now: Instant) {
        (0..times).for_each(|_| lockout.failed(host(1), "u", now));
    }

    #[tokio::test]
    async fn a_few_failures_are_free_and_then_each_doubles_the_wait() {
        let (lockout, now) = (Lockout::default(), Instant::now());
        fail(&lockout, FREE_FAILURES - 1, now);
        assert_eq!(lockout.left(host(1), "u", now), Duration::ZERO);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            fail(&lockout, 1, now);
            assert_eq!(lockout.left(host(1), "u", now), Duration::from_secs(seconds));
        }
        assert_eq!(lockout.left(host(1), "u", now + Duration::from_secs(61)), Duration::ZERO);
        assert_eq!(lockout.left(host(2), "u", now), Duration::ZERO, "from elsewhere it may");
        assert_eq!(lockout.left(host(1), "v", now), Duration::ZERO, "and so may others");
    }

    #[tokio::test]
    async fn a_success_and_a_long_time_forget_what_failed() {
        let (lockout, now) = (Lockout::default(), Instant::now());
        fail(&lockout, FREE_FAILURES, now);
        lockout.succeeded(host(1), "u");
        fail(&lockout, 1, now);
        assert_eq!(lockout.left(host(1), "u", now), Duration::ZERO);
        fail(&lockout, FREE_FAILURES, now);
        let later = now + REMEMBERED + Duration::from_secs(1);
        fail(&lockout, 1, later);
        assert_eq!(lockout.left(host(1), "u", later), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let (lockout, now) = (Lockout::default(), Instant::now());
        fail(&lockout, FREE_FAILURES, now);
        let other = |n: usize| -> IpAddr { Ipv4Addr::from_bits(0x0b00_0000 + n as u32).into() };
        for user in 0..REMEMBERED_MAX + 10 {
            // Names that are invented make nobody forget but the host that invents them.
            lockout.failed(host(2), &user.to_string(), now + Duration::from_millis(user as u64));
        }
        assert_eq!(lockout.0.lock().unwrap().len(), REMEMBERED_OF_HOST_MAX + 1);
        assert!(!lockout.left(host(1), "u", now).is_zero());
        for n in 0..REMEMBERED_MAX + 10 {
            lockout.failed(other(n), "u", now + Duration::from_secs(60));
        }
        assert_eq!(lockout.0.lock().unwrap().len(), REMEMBERED_MAX);
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_host() {
        let (lockout, now) = (Lockout::default(), Instant::now());
        for n in 1..=FREE_FAILURES {
            lockout.failed(format!("2001:db8::{n}").parse().unwrap(), "u", now);
        }
        assert!(!lockout.left("2001:db8::ffff".parse().unwrap(), "u", now).is_zero());
        assert!(lockout.left("2001:db8:0:1::1".parse().unwrap(), "u", now).is_zero());
    }
}
