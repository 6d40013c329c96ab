//! What time it is. Decisions count in the API server's time: it stamps the objects that they read, and every replica that
//! may take over has it in common. This machine's clock is used as long as it agrees with the server's; one that jumped, or
//! was never set, is not.
//!
//! Not for durations inside the process, which use clocks that do not jump.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::DATE;
use jiff::{SignedDuration, Timestamp};

/// How far this machine's clock may be off. An answer's date has a resolution of a second, and is as old as the way back.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// An answer that took longer says little about the time.
const LONGEST_WAY: Duration = Duration::from_secs(2);
/// Between the second that an answer's date names and the next one.
const HALF_A_SECOND: SignedDuration = SignedDuration::from_millis(500);

/// Time since the machine booted, sleep included.
pub(crate) type Moment = Duration;

/// Now, on a clock that never goes back and that runs on while the machine sleeps or the process is stopped.
///
/// `Instant` would not do: on Linux it stands still while a laptop or a virtual machine is suspended, and on waking up
/// an old leader would believe that no time had passed. Other systems have no such clock that rustix knows; there a
/// suspended leader is caught by the next failing renewal only.
pub(crate) fn moment() -> Moment {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// When the API server last told its time, and what it was.
#[derive(Debug, Clone, Copy)]
struct Told {
    server: Timestamp,
    at: Moment,
}

#[derive(Debug)]
struct Clock {
    told: Option<Told>,
    /// By how much this machine's clock is ahead, as it was last logged; zero while it agrees.
    logged: SignedDuration,
}

static CLOCK: Mutex<Clock> = Mutex::new(Clock { told: None, logged: SignedDuration::ZERO });

/// Now, as decisions count: by this machine's clock, or by the API server's where the two differ by more than five
/// seconds. Until the server has answered a request of a [`crate::client()`] it is this machine's.
pub fn now() -> Timestamp {
    let wall = Timestamp::now();
    let (now, ahead, news) = {
        let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, ahead) = judge(clock.told, wall, moment());
        let news = (ahead - clock.logged).abs() > TOLERANCE || (ahead.is_zero() && !clock.logged.is_zero());
        if news {
            clock.logged = ahead;
        }
        (now, ahead, news)
    };
    match (news, ahead.is_zero()) {
        (true, false) => tracing::warn!(
            seconds_ahead = ahead.as_secs(),
            "this machine's clock differs from the API server's: the server's time is used; set the machine's clock"
        ),
        (true, true) => tracing::info!("this machine's clock agrees with the API server's again"),
        _ => {}
    }
    now
}

/// By how much this machine's clock is ahead of the API server's; nothing while the two agree.
pub(crate) fn ahead() -> SignedDuration {
    let told = CLOCK.lock().unwrap_or_else(PoisonError::into_inner).told;
    judge(told, Timestamp::now(), moment()).1
}

/// The time, and by how much this machine's clock is ahead, if that is too much.
fn judge(told: Option<Told>, wall: Timestamp, at: Moment) -> (Timestamp, SignedDuration) {
    let server = told.and_then(|told| {
        let passed = SignedDuration::try_from(at.saturating_sub(told.at)).ok()?;
        told.server.checked_add(passed).ok()
    });
    let Some(server) = server else { return (wall, SignedDuration::ZERO) };
    let ahead = wall.duration_since(server);
    if ahead.abs() > TOLERANCE { (server, ahead) } else { (wall, SignedDuration::ZERO) }
}

/// Takes in what the headers of an answer say, to a request that was sent at `sent`.
pub(crate) fn hear(headers: &HeaderMap, sent: Moment) {
    let at = moment();
    if at.saturating_sub(sent) > LONGEST_WAY {
        return;
    }
    if let Some(server) = date(headers) {
        CLOCK.lock().unwrap_or_else(PoisonError::into_inner).told = Some(Told { server, at });
    }
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::parse(headers.get(DATE)?.to_str().ok()?).ok()?.timestamp();
    date.checked_add(HALF_A_SECOND).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_clock_that_agrees_is_used_and_one_that_does_not_is_not() {
        let told = Some(Told { server: at(0), at: Duration::from_secs(100) });
        let later = Duration::from_secs(110);
        let cases = [
            (at(10), at(10), 0),
            (at(14), at(14), 0),
            (at(6), at(6), 0),
            (at(3610), at(10), 3600),
            (at(10 - 7200), at(10), -7200),
        ];
        for (wall, now, ahead) in cases {
            assert_eq!(judge(told, wall, later), (now, SignedDuration::from_secs(ahead)), "{wall}");
        }
        assert_eq!(judge(None, at(99), later), (at(99), SignedDuration::ZERO), "nobody has told the time");
    }

    #[test]
    fn dates_are_read_as_servers_write_them() {
        let headers = |date: &str| HeaderMap::from_iter([(DATE, date.parse().unwrap())]);
        let read = date(&headers("Fri, 15 Jan 2027 08:00:00 GMT"));
        assert_eq!(read, Some(at(0) + HALF_A_SECOND));
        assert_eq!(date(&headers("yesterday")), None);
        assert_eq!(date(&HeaderMap::new()), None);
    }
}
