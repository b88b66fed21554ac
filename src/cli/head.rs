//! What a report says first: who measured what, when, with what.

use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};
use wgpu_norm::wgpu;

/// A run of the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) command: String,
    #[serde(rename = "wgpu_norm")]
    pub(super) version: String,
    /// Since 1970, in UTC.
    #[serde(rename = "seconds_since_1970")]
    pub(super) seconds: u64,
    pub(super) date: String,
    pub(super) os: String,
    pub(super) arch: String,
    #[serde(rename = "cpu_threads")]
    pub(super) threads: usize,
}

/// Something that executes plans, and what drives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) backend: String,
    pub(super) driver: String,
    pub(super) driver_info: String,
}

impl Head {
    /// Of this run, now.
    pub(super) fn now() -> Self {
        let arguments: Vec<String> = std::env::args_os().skip(1).map(|part| part.to_string_lossy().into()).collect();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            command: format!("wgpu-norm {}", arguments.join(" ")),
            version: env!("CARGO_PKG_VERSION").into(),
            seconds,
            date: date(seconds),
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    pub(super) fn system(&self) -> String {
        format!("{} on {}", self.os, self.arch)
    }
}

impl Described {
    /// The reference or the CPU.
    pub(super) fn host(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: "Host".into(),
            backend: String::new(),
            driver: String::new(),
            driver_info: processor().unwrap_or_default(),
        }
    }

    pub(super) fn adapter(name: &str, info: &wgpu::AdapterInfo) -> Self {
        Self {
            name: name.to_owned(),
            kind: format!("{:?}", info.device_type),
            backend: info.backend.to_string(),
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
        }
    }

    /// The driver with its version, or the processor.
    pub(super) fn driver(&self) -> String {
        format!("{} {}", self.driver, self.driver_info).trim().to_owned()
    }
}

/// What Linux calls the processor; other systems tell it to programs of their own.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// The date and time in UTC, of seconds since 1970. Years begin in March here, so that a leap day is their last.
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (400 * era + year, month + 3) } else { (400 * era + year + 1, month - 9) };
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (1_735_689_600, "2025-01-01 00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(seconds), want);
        }
    }
}
