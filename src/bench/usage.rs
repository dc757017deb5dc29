//! What the process has consumed so far, as the system counts it. On a machine that others use as well, CPU time says more
//! than the time on the wall.

use std::time::Duration;

/// CPU time of all threads of the process, in user and system mode.
pub fn cpu_time() -> Duration {
    let usage = rusage();
    let length = |time: libc::timeval| Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec as u32 * 1000);
    length(usage.ru_utime) + length(usage.ru_stime)
}

/// CPU time of the calling thread.
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a valid timespec of our own, which the call fills.
    #[expect(unsafe_code, reason = "there is no safe interface to this clock in our dependencies")]
    unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
    }
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// The most memory that the process has had resident at once, in bytes.
pub fn peak_resident_bytes() -> u64 {
    // Linux counts in KiB, the BSDs and macOS too but for the latter's bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    rusage().ru_maxrss.unsigned_abs() * unit
}

/// The memory that is resident now; `None` where the system does not tell by a file.
pub fn resident_bytes() -> Option<u64> {
    let pages = statistic("/proc/self/statm", 1)?;
    // SAFETY: a call without pointers.
    #[expect(unsafe_code, reason = "there is no safe interface to sysconf in our dependencies")]
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page).ok()?)
}

/// CPU time of another process that is still alive; `None` where the system does not tell by a file.
pub fn cpu_time_of(process: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is a name in parentheses, with anything in it.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let total = ticks()? + ticks()?;
    // SAFETY: a call without pointers.
    #[expect(unsafe_code, reason = "there is no safe interface to sysconf in our dependencies")]
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|ticks| *ticks > 0)?;
    Some(Duration::from_millis(total * 1000 / per_second))
}

fn statistic(path: &str, index: usize) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.split_whitespace().nth(index)?.parse().ok()
}

fn rusage() -> libc::rusage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to room for one rusage, which the call fills; zeroes are a valid one if it does not.
    #[expect(unsafe_code, reason = "there is no safe interface to getrusage in our dependencies")]
    unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_are_seen() {
        let before = cpu_time();
        let mut numbers: Vec<u64> = Vec::new();
        while cpu_time() < before + Duration::from_millis(5) {
            numbers.extend((0..10_000).map(|number: u64| number.wrapping_mul(0x9e37_79b9)));
        }
        assert!(peak_resident_bytes() > 8 * numbers.len() as u64);
        if cfg!(target_os = "linux") {
            assert!(resident_bytes() <= Some(peak_resident_bytes() + (1 << 20)) && resident_bytes().is_some());
            assert!(cpu_time_of(std::process::id()).is_some());
        }
    }
}
