//! Times as the event log writes them.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment in the machine's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    pub year: i32,
    /// 1 to 12.
    pub month: i32,
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
    /// 0 for Sunday.
    pub weekday: i32,
}

impl Local {
    /// The local time of a moment.
    ///
    /// The C library reads the zone at the first call and not again: the process that opens the gateway makes that call,
    /// before there are threads.
    pub fn of(when: SystemTime) -> Local {
        let seconds = when.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = libc::time_t::try_from(seconds).unwrap_or(0);
        let mut broken = std::mem::MaybeUninit::<libc::tm>::zeroed();
        // SAFETY: localtime_r reads one number and writes one struct, both on this stack frame; all zeros are a struct too,
        // should it fail.
        let broken = unsafe {
            libc::localtime_r(&raw const seconds, broken.as_mut_ptr());
            broken.assume_init()
        };
        Local {
            year: broken.tm_year + 1900,
            month: broken.tm_mon + 1,
            day: broken.tm_mday,
            hour: broken.tm_hour,
            minute: broken.tm_min,
            second: broken.tm_sec,
            weekday: broken.tm_wday,
        }
    }

    /// As ctime(3) writes it: `Thu Aug 14 12:46:25 2025`.
    pub fn ctime(self) -> String {
        let day = usize::try_from(self.weekday).ok().and_then(|at| DAYS.get(at)).unwrap_or(&"???");
        let month = usize::try_from(self.month - 1).ok().and_then(|at| MONTHS.get(at)).unwrap_or(&"???");
        let Local { day: date, hour, minute, second, year, .. } = self;
        format!("{day} {month} {date:2} {hour:02}:{minute:02}:{second:02} {year}")
    }

    /// For the names of kept log files: `20250814_1246`.
    pub fn stamp(self) -> String {
        let Local { year, month, day, hour, minute, .. } = self;
        format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}")
    }
}

/// UTC with milliseconds: `2025-08-14 10:46:25.602`.
pub fn utc(when: SystemTime) -> String {
    let utc = OffsetDateTime::from(when);
    let (date, time) = (utc.date(), utc.time());
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_as_the_original_writes_them() {
        let when = UNIX_EPOCH + Duration::from_millis(1_755_168_385_602);
        assert_eq!(utc(when), "2025-08-14 10:46:25.602");
        let local = Local { year: 2025, month: 8, day: 4, hour: 12, minute: 46, second: 25, weekday: 1 };
        assert_eq!(local.ctime(), "Mon Aug  4 12:46:25 2025");
        assert_eq!(local.stamp(), "20250804_1246");
        assert_eq!(Local::of(when).year, 2025);
    }
}
