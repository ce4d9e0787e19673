//! How an answer says that it went.

use std::fmt;

/// A response code: 4 bits of the header, and 8 more above them where EDNS has them (RFC 6895, section 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    /// All is well.
    pub const NO_ERROR: Self = Self(0);
    /// There is no such name.
    pub const NX_DOMAIN: Self = Self(3);
}

impl fmt::Display for Rcode {
    /// The name in the IANA registry "DNS RCODEs"; `RCODE` and the number where it has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            7 => "YXRRSET",
            8 => "NXRRSET",
            9 => "NOTAUTH",
            10 => "NOTZONE",
            11 => "DSOTYPENI",
            // Also BADSIG, in a record of a signature only.
            16 => "BADVERS",
            23 => "BADCOOKIE",
            other => return write!(f, "RCODE{other}"),
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_registry() {
        let names = [0, 3, 16, 4000].map(|code| Rcode(code).to_string());
        assert_eq!(names, ["NOERROR", "NXDOMAIN", "BADVERS", "RCODE4000"]);
    }
}
