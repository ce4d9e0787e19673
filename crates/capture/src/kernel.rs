//! Facts about the running kernel.

use std::fmt;

/// Major and minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// Of the running kernel; `None` when it does not say.
    #[must_use]
    pub fn running() -> Option<Self> {
        std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .ok()
            .and_then(|release| Self::parse(&release))
    }

    fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|byte: char| !byte.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_whatever_follows() {
        assert_eq!(
            KernelVersion::parse("5.10.0-28-amd64"),
            Some(KernelVersion(5, 10))
        );
        assert_eq!(KernelVersion::parse("6.18"), Some(KernelVersion(6, 18)));
        assert_eq!(KernelVersion::parse("strange"), None);
    }
}
