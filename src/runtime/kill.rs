//! Seeded crashes: the process kills itself with SIGKILL at a progress mark, so that `verify-resume` and the demo can
//! prove that nobody notices.

use std::str::FromStr;

/// Where the process shall die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillMark {
    /// After handing the n-th record of this process to its lane.
    Record(u64),
    /// At the n-th change to the disk by the checkpoint writer.
    Disk(u64),
}

impl FromStr for KillMark {
    type Err = String;

    fn from_str(text: &str) -> Result<KillMark, String> {
        let (kind, count) = text.split_once(':').ok_or("expected record:N or disk:N")?;
        let count = count.parse().map_err(|_| format!("{count} is not a count"))?;
        match kind {
            "record" => Ok(KillMark::Record(count)),
            "disk" => Ok(KillMark::Disk(count)),
            other => Err(format!("unknown mark {other}: expected record:N or disk:N")),
        }
    }
}

/// Ends this process the hard way: no destructor runs, no buffer is flushed.
pub fn kill_self() -> ! {
    #[expect(unsafe_code, reason = "sends SIGKILL to the own process; no memory is touched")]
    // SAFETY: getpid and kill take plain numbers and cannot violate memory safety.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    // Unreachable in practice: SIGKILL cannot be caught. abort() keeps the signature honest.
    std::process::abort()
}
