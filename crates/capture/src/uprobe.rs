//! Attaches programs to user code.

use std::path::Path;

use libbpf_rs::{Link, Object, ProgramMut, UprobeMultiOpts, UprobeOpts};

use crate::go_calls::GoCalls;
use crate::{Error, Hook, Pid};

/// Probes in one file; dropping it removes them.
#[derive(Debug)]
pub struct ProbeLinks {
    links: Vec<Link>,
    /// Whose calls are forgotten when the probes are off.
    go: Option<(GoCalls, Pid)>,
}

impl ProbeLinks {
    /// How many kernel objects hold the probes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn forget_at_end(&mut self, calls: GoCalls, pid: Pid) {
        self.go = Some((calls, pid));
    }
}

impl Drop for ProbeLinks {
    fn drop(&mut self) {
        self.links.clear();
        // Not before: a probe would leave another one.
        if let Some((calls, pid)) = &self.go
            && let Err(error) = calls.forget(*pid)
        {
            tracing::debug!(pid = pid.0, %error, "calls of goroutines stay until their places are needed");
        }
    }
}

/// The programs of a hook: at entry, at return.
fn programs(hook: Hook) -> (&'static str, Option<&'static str>) {
    match hook {
        Hook::LogSecret => ("secret_log", None),
        Hook::EvpKdfDerive => ("secret_evp_kdf", Some("secret_evp_kdf_return")),
        Hook::EvpPkeyDerive => ("secret_evp_pkey", Some("secret_evp_pkey_return")),
        Hook::NettleHkdfExpand => ("secret_nettle", Some("secret_nettle_return")),
        Hook::GnutlsPrfRaw => ("secret_gnutls_prf", None),
        Hook::RustlsDerive => ("secret_rustls_derive", Some("secret_rustls_derive_return")),
        Hook::RustlsKeyBlock => ("secret_rustls_key_block", None),
        Hook::WolfsslExpandLabel => ("secret_wolfssl_label", Some("secret_wolfssl_label_return")),
        Hook::WolfsslPrf => ("secret_wolfssl_prf", None),
        Hook::MbedtlsDerive => ("secret_mbedtls_derive", Some("secret_mbedtls_derive_return")),
        Hook::S2nDerive => ("secret_s2n_derive", Some("secret_s2n_derive_return")),
        Hook::S2nPrf => ("secret_s2n_prf", None),
        Hook::MbedtlsHmacStarts => ("secret_mbedtls_starts", None),
        Hook::MbedtlsHmacUpdate => ("secret_mbedtls_update", None),
        Hook::NssDerive => ("secret_nss_derive", None),
        Hook::NssHmacFinish => ("secret_nss_hmac", Some("secret_nss_hmac_return")),
        Hook::NssTlsPrf => ("secret_nss_prf", None),
        Hook::GoKeyLog => ("secret_go_key_log", None),
        Hook::GoMasterKeys => ("secret_go_master_keys", None),
        Hook::SslRead => ("call_ssl_read", Some("call_ssl_read_return")),
        Hook::SslReadEx => ("call_ssl_read_ex", Some("call_ssl_read_ex_return")),
        Hook::SslWrite => ("call_ssl_write", Some("call_ssl_write_return")),
        Hook::SslWriteEx => ("call_ssl_write_ex", Some("call_ssl_write_ex_return")),
        Hook::SslFree => ("call_ssl_free", None),
        // Of the same shape: session, buffer, length; an int, which is positive when bytes were moved.
        Hook::WolfsslRead | Hook::MbedtlsRead => ("call_ssl_read", Some("call_ssl_read_return")),
        Hook::WolfsslWrite | Hook::MbedtlsWrite | Hook::NssSend => {
            ("call_ssl_write", Some("call_ssl_write_return"))
        }
        Hook::NssRecv => ("call_nss_recv", Some("call_ssl_read_return")),
        Hook::WolfsslFree | Hook::MbedtlsFree | Hook::S2nFree | Hook::NssClose => ("call_ssl_free", None),
        Hook::GnutlsRecv | Hook::S2nRecv => ("call_gnutls_recv", Some("call_gnutls_recv_return")),
        Hook::GnutlsSend | Hook::S2nSend => ("call_gnutls_send", Some("call_gnutls_send_return")),
        Hook::GnutlsDeinit => ("call_gnutls_deinit", None),
        Hook::GoReadEnd => ("call_go_read_end", None),
        Hook::GoReadEndPaired => ("call_go_read_end_paired", None),
        Hook::GoWriteEnd => ("call_go_write_end", None),
        Hook::GoRead => ("call_go_read", None),
        Hook::GoWrite => ("call_go_write", None),
    }
}

/// Attaches each hook at its file offset, in one process or in all. `multi` says that the programs were loaded for links of many
/// offsets. Returns are probed before entries, so that no entry is left waiting for a return nobody sees.
pub(crate) fn attach(
    object: &Object,
    multi: bool,
    path: &Path,
    pid: Option<Pid>,
    hooks: &[(Hook, u64)],
) -> Result<ProbeLinks, Error> {
    let mut kinds: Vec<Hook> = hooks.iter().map(|(hook, _)| *hook).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut links = Vec::new();
    for kind in kinds {
        let offsets: Vec<u64> = hooks
            .iter()
            .filter(|(hook, _)| *hook == kind)
            .map(|(_, offset)| *offset)
            .collect();
        let (entry, exit) = programs(kind);
        if let Some(exit) = exit {
            attach_program(object, multi, path, pid, (exit, true), &offsets, &mut links)?;
        }
        attach_program(object, multi, path, pid, (entry, false), &offsets, &mut links)?;
    }
    Ok(ProbeLinks { links, go: None })
}

fn attach_program(
    object: &Object,
    multi: bool,
    path: &Path,
    pid: Option<Pid>,
    (name, at_return): (&'static str, bool),
    offsets: &[u64],
    links: &mut Vec<Link>,
) -> Result<(), Error> {
    let program = find(object, name)?;
    let failed = |offset, source| Error::Probe {
        program: name,
        path: path.to_owned(),
        offset,
        source,
    };
    let target = pid.and_then(|pid| i32::try_from(pid.0).ok()).unwrap_or(-1);
    if multi {
        let options = UprobeMultiOpts {
            offsets: offsets
                .iter()
                .filter_map(|offset| usize::try_from(*offset).ok())
                .collect(),
            retprobe: at_return,
            ..UprobeMultiOpts::default()
        };
        let first = offsets.first().copied().unwrap_or(0);
        let link = program
            .attach_uprobe_multi_with_opts(target, path, "", options)
            .map_err(|source| failed(first, source))?;
        links.push(link);
        return Ok(());
    }
    for offset in offsets {
        let options = UprobeOpts {
            retprobe: at_return,
            ..UprobeOpts::default()
        };
        let link = program
            .attach_uprobe_with_opts(
                target,
                path,
                usize::try_from(*offset).unwrap_or(usize::MAX),
                options,
            )
            .map_err(|source| failed(*offset, source))?;
        links.push(link);
    }
    Ok(())
}

fn find<'obj>(object: &'obj Object, name: &'static str) -> Result<ProgramMut<'obj>, Error> {
    object
        .progs_mut()
        .find(|program| program.name() == name && program.autoload())
        .ok_or(Error::NoProgram(name))
}
