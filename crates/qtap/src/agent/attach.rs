//! Lets the probe tracker attach through the kernel side.

use std::path::Path;
use std::sync::Arc;

use qtap_capture::{Capture, Hook, Pid, ProbeLinks};
use qtap_probe::Attacher;

use crate::cli::{TlsProbe, TlsProbes};

/// Attaches to the loaded programs.
pub(super) struct KernelAttacher {
    capture: Arc<Capture>,
    allowed: TlsProbes,
}

impl KernelAttacher {
    pub(super) fn new(capture: Arc<Capture>, allowed: TlsProbes) -> Self {
        Self { capture, allowed }
    }

    fn is_allowed(&self, hook: Hook) -> bool {
        let probe = match hook {
            Hook::NettleHkdfExpand
            | Hook::GnutlsPrfRaw
            | Hook::GnutlsRecv
            | Hook::GnutlsSend
            | Hook::GnutlsDeinit => TlsProbe::GnuTls,
            Hook::RustlsDerive | Hook::RustlsKeyBlock => TlsProbe::Rustls,
            Hook::WolfsslExpandLabel
            | Hook::WolfsslPrf
            | Hook::WolfsslRead
            | Hook::WolfsslWrite
            | Hook::WolfsslFree => TlsProbe::WolfSsl,
            Hook::MbedtlsDerive
            | Hook::MbedtlsHmacStarts
            | Hook::MbedtlsHmacUpdate
            | Hook::MbedtlsRead
            | Hook::MbedtlsWrite
            | Hook::MbedtlsFree => TlsProbe::MbedTls,
            Hook::S2nDerive | Hook::S2nPrf | Hook::S2nRecv | Hook::S2nSend | Hook::S2nFree => TlsProbe::S2n,
            Hook::NssDerive
            | Hook::NssHmacFinish
            | Hook::NssTlsPrf
            | Hook::NssRecv
            | Hook::NssSend
            | Hook::NssClose => TlsProbe::Nss,
            Hook::GoKeyLog
            | Hook::GoMasterKeys
            | Hook::GoRead
            | Hook::GoReadEnd
            | Hook::GoReadEndPaired
            | Hook::GoWrite
            | Hook::GoWriteEnd => TlsProbe::Go,
            _ => TlsProbe::OpenSsl,
        };
        // The key-log function looks the same in both families.
        self.allowed.includes(probe) || (hook == Hook::LogSecret && !self.allowed.is_none())
    }
}

impl Attacher for KernelAttacher {
    type Links = ProbeLinks;

    fn attach(&self, file: &Path, pid: Option<Pid>, points: &[(Hook, u64)]) -> Result<ProbeLinks, String> {
        let points: Vec<_> = points
            .iter()
            .copied()
            .filter(|&(hook, _)| self.is_allowed(hook))
            .collect();
        if points.is_empty() {
            return Err("left out by --tls-probes".to_owned());
        }
        self.capture
            .attach_uprobe(file, pid, &points)
            .map_err(|error| format!("{:#}", anyhow::Error::new(error)))
    }

    fn mark_known(&self, device: u64, inode: u64) {
        // A full map only means that the file's mappings are told again.
        if let Err(error) = self.capture.control().mark_known(device, inode) {
            tracing::debug!(device, inode, %error, "file is not marked as known");
        }
    }

    fn forget(&self, device: u64, inode: u64) {
        if let Err(error) = self.capture.control().forget_known(device, inode) {
            tracing::debug!(device, inode, %error, "file stays marked as known");
        }
    }

    fn forget_go_calls(&self, pid: Pid) {
        if let Err(error) = self.capture.forget_go_calls(pid) {
            tracing::debug!(pid = pid.0, %error, "calls of goroutines stay until their places are needed");
        }
    }
}
