//! The file: opened so that nobody else reads it, and appended to a line at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context as _, bail};
use qtap_tls::OwnSecret;
use zeroize::Zeroizing;

/// A key log that only its owner may read.
#[derive(Debug)]
pub(crate) struct KeyLogFile {
    file: File,
    /// It does not end in a whole line: the disk was full, or whoever wrote before was killed.
    is_torn: bool,
}

impl KeyLogFile {
    /// Opens the file to append, or makes it with mode 0600.
    ///
    /// # Errors
    /// When it cannot be opened, is no regular file or a link, belongs to somebody else, or others may read or write it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            // A link is not followed, and a pipe or a device does not hold up the start.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path);
        let file = match file {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                bail!("--keylog: {} is a symbolic link", path.display())
            }
            opened => {
                opened.with_context(|| format!("--keylog: cannot open {} to append", path.display()))?
            }
        };
        let found = file.metadata()?;
        let mine = rustix::process::geteuid().as_raw();
        let wrong = if !found.is_file() {
            "is not a regular file"
        } else if found.uid() != mine {
            "belongs to another user"
        } else if found.mode() & 0o077 != 0 {
            "may be read or written by others: chmod 600 it, or name another"
        } else if found.nlink() != 1 {
            "has more than one name (hard links)"
        } else {
            ""
        };
        if !wrong.is_empty() {
            bail!("--keylog: {} {wrong}", path.display());
        }
        let mut last = [0];
        let is_torn = match found.len().checked_sub(1) {
            Some(at) => file.read_exact_at(&mut last, at).is_err() || last != *b"\n",
            None => false,
        };
        Ok(Self { file, is_torn })
    }

    /// Appends the line of one secret, at once.
    ///
    /// # Errors
    /// What the system says; a part of the line may be written, and what follows begins a new one.
    pub(super) fn append(&mut self, own: &OwnSecret) -> io::Result<()> {
        let line = line(own, self.is_torn);
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A line of the NSS key log format: label, client random and secret in hexadecimal digits. Wiped when dropped.
fn line(own: &OwnSecret, begins_anew: bool) -> Zeroizing<String> {
    let secret = &own.secret;
    let label = secret.label.name();
    // Never grown, so that no copy is left behind.
    let length = 1 + label.len() + 1 + 64 + 1 + 2 * secret.bytes.len() + 1;
    let mut line = Zeroizing::new(String::with_capacity(length));
    if begins_anew {
        line.push('\n');
    }
    line.push_str(label);
    for bytes in [own.client_random.as_slice(), &secret.bytes] {
        line.push(' ');
        for &byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                line.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use qtap_tls::{Label, Secret, Time};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("qtap-keylog-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    fn own(byte: u8) -> OwnSecret {
        OwnSecret {
            secret: Secret {
                label: Label::Master,
                bytes: Zeroizing::new(vec![byte; 48]),
                client_random: None,
                time: Time(1),
                origin: None,
            },
            client_random: [0x0f; 32],
        }
    }

    fn expected(byte: u8) -> String {
        format!(
            "CLIENT_RANDOM {} {}\n",
            "0f".repeat(32),
            format!("{byte:02x}").repeat(48)
        )
    }

    #[test]
    fn it_is_made_for_its_owner_alone_and_appended_to() {
        let folder = scratch("made");
        let path = folder.join("keys");
        KeyLogFile::open(&path).unwrap().append(&own(0xa1)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        KeyLogFile::open(&path).unwrap().append(&own(0xb2)).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            expected(0xa1) + &expected(0xb2)
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let folder = scratch("torn");
        let path = folder.join("keys");
        std::fs::write(&path, "CLIENT_RANDOM 00").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut file = KeyLogFile::open(&path).unwrap();
        file.append(&own(1)).unwrap();
        file.append(&own(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("CLIENT_RANDOM 00\n{}{}", expected(1), expected(2)));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_others_could_read_or_redirect_is_refused() {
        let folder = scratch("refused");
        let plain = folder.join("plain");
        KeyLogFile::open(&plain).unwrap();
        let (link, pipe, open, second) = (
            folder.join("link"),
            folder.join("pipe"),
            folder.join("open"),
            folder.join("second"),
        );
        symlink(&plain, &link).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        std::fs::write(&open, "").unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refusal = |path: &Path| format!("{:#}", KeyLogFile::open(path).unwrap_err());
        for (path, reason) in [
            (link.as_path(), "symbolic link"),
            (&pipe, "not a regular file"),
            (&folder, "cannot open"),
            (Path::new("/dev/null"), "not a regular file"),
            (&open, "chmod 600"),
            (&folder.join("no/such/folder"), "cannot open"),
        ] {
            let said = refusal(path);
            assert!(said.contains(reason) && said.contains("--keylog"), "{said}");
        }
        std::fs::hard_link(&plain, &second).unwrap();
        assert!(refusal(&plain).contains("hard links"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error_and_the_next_line_begins_anew() {
        // /dev/full says so at each write, as a full disk does.
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut log = KeyLogFile { file, is_torn: false };
        let error = log.append(&own(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
