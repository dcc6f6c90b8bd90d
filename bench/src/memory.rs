//! The memory of a process, as Linux reports it.

use std::fs;
use std::io;

/// In megabytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Resident now.
    pub resident: f64,
    /// The most that was resident since the process began.
    pub peak: f64,
}

impl Memory {
    /// Reads the memory of process `pid`.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Self::parse(&status)
            .ok_or_else(|| io::Error::other(format!("the status of process {pid} has no memory figures")))
    }

    fn parse(status: &str) -> Option<Self> {
        // proc_pid_status(5): in kB, which are 1024 bytes.
        let find = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes = line.strip_suffix("kB")?.trim().parse::<f64>().ok()?;
            Some(kilobytes * 1024.0 / 1e6)
        };
        Some(Self { resident: find("VmRSS:")?, peak: find("VmHWM:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_of_a_process() {
        let status = "Name:\tcoir\nVmHWM:\t   20000 kB\nVmRSS:\t   10000 kB\nThreads:\t4\n";
        assert_eq!(Memory::parse(status), Some(Memory { resident: 10.24, peak: 20.48 }));
        assert_eq!(Memory::parse("Name:\tkthreadd\n"), None);
    }
}
