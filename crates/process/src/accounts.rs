//! User names and host names out of a process' own root directory.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::procfs::read_foreign_file;

const MAX_PASSWD_BYTES: u64 = 1 << 20;
const MAX_HOSTNAME_BYTES: u64 = 4096;
/// Users kept of one file, and files kept.
const MAX_USERS: usize = 4096;
const MAX_FILES: usize = 32;
const MAX_NAME_BYTES: usize = 64;

/// Identity of a file's content: containers of one image share it, whatever their mount namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

/// User names by passwd file.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    files: HashMap<FileKey, HashMap<u32, String>>,
}

impl Accounts {
    /// Name of `uid` in `etc/passwd` under `root`; one `stat(2)` when the file is known.
    pub(crate) fn user_name(&mut self, root: &Path, uid: u32) -> Option<String> {
        let path = root.join("etc/passwd");
        let metadata = fs::symlink_metadata(&path).ok()?;
        let key = FileKey {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
        };
        if let Some(users) = self.files.get(&key) {
            return users.get(&uid).cloned();
        }
        let text = read_foreign_file(&path, MAX_PASSWD_BYTES).ok()?;
        if self.files.len() >= MAX_FILES {
            // Rare (as many images as this at once), so starting over is cheaper than keeping an order.
            self.files.clear();
        }
        let users = self
            .files
            .entry(key)
            .or_insert_with(|| parse_passwd(&String::from_utf8_lossy(&text)));
        users.get(&uid).cloned()
    }
}

/// `etc/hostname` under `root`: its first line that is no comment (`hostname(5)`).
pub(crate) fn hostname(root: &Path) -> Option<String> {
    let text = read_foreign_file(&root.join("etc/hostname"), MAX_HOSTNAME_BYTES).ok()?;
    let text = String::from_utf8_lossy(&text);
    let name = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    (name.len() <= 255).then(|| name.to_owned())
}

/// `passwd(5)`; the first name of a uid counts, as for `getpwuid(3)`.
pub(crate) fn parse_passwd(text: &str) -> HashMap<u32, String> {
    let mut users = HashMap::new();
    for line in text.lines().take(MAX_USERS) {
        let mut fields = line.split(':');
        let (Some(name), Some(uid)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        let Ok(uid) = uid.parse() else { continue };
        if !name.is_empty() && name.len() <= MAX_NAME_BYTES {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("qtap-process-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        root
    }

    #[test]
    fn names_come_from_the_given_root_and_follow_its_changes() {
        let root = root("accounts");
        let passwd = root.join("etc/passwd");
        fs::write(
            &passwd,
            "root:x:0:0::/:/bin/sh\nbroken\n:x:5:5\napp:x:1000:1000::/:/x\nalias:x:1000:1::/:/x\n",
        )
        .unwrap();
        let mut accounts = Accounts::default();
        assert_eq!(accounts.user_name(&root, 1000).as_deref(), Some("app"));
        assert_eq!(accounts.user_name(&root, 5), None);
        fs::write(&passwd, "other:x:1000:1000::/:/x\n").unwrap();
        assert_eq!(accounts.user_name(&root, 1000).as_deref(), Some("other"));
        assert_eq!(accounts.user_name(Path::new("/nonexistent"), 0), None);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_number_of_cached_files_is_bounded() {
        let root = root("bounded");
        let mut accounts = Accounts::default();
        for round in 0..MAX_FILES * 3 {
            // A different size each time, so a different key.
            fs::write(
                root.join("etc/passwd"),
                format!("{}:x:1:1\n", "u".repeat(round % 60 + 1)),
            )
            .unwrap();
            assert!(accounts.user_name(&root, 1).is_some());
            assert!(accounts.files.len() <= MAX_FILES);
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_host_name_is_the_first_line_that_says_something() {
        let root = root("hostname");
        assert_eq!(hostname(&root), None);
        fs::write(root.join("etc/hostname"), "# comment\n\n web-1 \nrest\n").unwrap();
        assert_eq!(hostname(&root).as_deref(), Some("web-1"));
        fs::write(root.join("etc/hostname"), "x".repeat(300)).unwrap();
        assert_eq!(hostname(&root), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
