//! Who holds the lock on a node's data folder, read from the system's table of locks.
//!
//! A node takes `flock` on the file `lock` in its data folder before it touches anything else there, and the system
//! releases it with the process (`crates/node/src/identity.rs`). The table names the process and the file:
//!
//! ```text
//! 1: FLOCK  ADVISORY  WRITE 22050 fe:00:5316742 0 EOF
//!                           pid   device:inode, the device in hexadecimal
//! ```
//!
//! Not here: taking the lock.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const TABLE: &str = "/proc/locks";
/// The name of the file in the data folder, as the node has it.
const FILE: &str = "lock";

/// The process that holds the data folder's lock; `None` if nobody does, or there is no folder.
///
/// # Errors
/// When the file cannot be looked at, the table cannot be read, or the holder is hidden from us.
pub(crate) fn holder(datadir: &Path) -> io::Result<Option<i32>> {
    let file = match fs::metadata(datadir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(&datadir.join(FILE), &error)),
    };
    let table = fs::read_to_string(TABLE).map_err(|error| named(Path::new(TABLE), &error))?;
    let held = |lock: &Lock| lock.is_on(&file) || (lock.inode == file.ino() && has_open(lock.pid, &file));
    match table.lines().filter_map(Lock::read).find(held) {
        // A process of another namespace has no id here.
        Some(lock) if lock.pid <= 0 => {
            Err(io::Error::other(format!("{} is held by a process that is hidden from here", FILE)))
        }
        lock => Ok(lock.map(|lock| lock.pid)),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A line of the table: an exclusive lock that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lock {
    pid: i32,
    /// Major and minor number.
    device: (u64, u64),
    inode: u64,
}

impl Lock {
    /// `None` for locks of other kinds, for those that are only waited for, and for what is no lock.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(1);
        if words.next()? != "FLOCK" || words.next()? != "ADVISORY" || words.next()? != "WRITE" {
            return None;
        }
        let pid = words.next()?.parse().ok()?;
        let mut place = words.next()?.split(':');
        let major = u64::from_str_radix(place.next()?, 16).ok()?;
        let minor = u64::from_str_radix(place.next()?, 16).ok()?;
        Some(Self { pid, device: (major, minor), inode: place.next()?.parse().ok()? })
    }

    fn is_on(&self, file: &Metadata) -> bool {
        let device = file.dev();
        self.inode == file.ino()
            && self.device == (nix::sys::stat::major(device), nix::sys::stat::minor(device))
    }
}

/// Whether the process has this very file open: on file systems with subvolumes, the table names another device than
/// the file does.
fn has_open(pid: i32, file: &Metadata) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::metadata(entry.path()).ok())
        .any(|other| (other.dev(), other.ino()) == (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_table_is_read() {
        let lock = Lock { pid: 22050, device: (0xfe, 0), inode: 5_316_742 };
        assert_eq!(Lock::read("1: FLOCK  ADVISORY  WRITE 22050 fe:00:5316742 0 EOF"), Some(lock));
        for other in [
            "1: -> FLOCK  ADVISORY  WRITE 22050 fe:00:5316742 0 EOF",
            "2: FLOCK  ADVISORY  READ 22050 fe:00:10133506 0 EOF",
            "3: POSIX  ADVISORY  WRITE 7370 fe:00:5309650 0 EOF",
            "4: FLOCK  ADVISORY  WRITE many fe:00:1 0 EOF",
            "5: FLOCK  ADVISORY  WRITE 1 fe:1 0 EOF",
            "6: FLOCK",
            "",
        ] {
            assert_eq!(Lock::read(other), None, "{other}");
        }
    }

    #[test]
    fn the_holder_is_who_has_the_lock_and_not_who_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(&folder.path().join("absent")).unwrap(), None);
        assert_eq!(holder(folder.path()).unwrap(), None);
        let file = File::create(folder.path().join(FILE)).unwrap();
        assert_eq!(holder(folder.path()).unwrap(), None, "it is open, and not locked");
        file.try_lock().unwrap();
        assert_eq!(holder(folder.path()).unwrap(), i32::try_from(std::process::id()).ok());
        let us = std::process::id().cast_signed();
        assert!(has_open(us, &file.metadata().unwrap()));
        let other = File::create(folder.path().join("other")).unwrap().metadata().unwrap();
        assert!(!has_open(us, &other));
        drop(file);
        // A process that another test starts has all our files for a moment, and with them the lock.
        let deadline = Instant::now() + Duration::from_secs(10);
        while holder(folder.path()).unwrap().is_some() {
            assert!(Instant::now() < deadline, "the lock stays after its file");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
