//! The control socket, by which `qtap reload-config` and `qtap status` ask the running agent.
//!
//! Each agent listens on `qtap-PID.sock` in its data folder, which only root may enter. A request is one line, the
//! answer is text until the end. That of a reload begins with `ok` or `error`; the status is JSON, or begins with `error`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossbeam_channel::{Receiver, Sender, bounded};

/// How long either end waits for the other.
const PATIENCE: Duration = Duration::from_secs(15);
const RELOAD: &str = "reload";
/// Asks for the status.
pub(crate) const STATUS: &str = "status";

/// Makes the status report; may take some seconds.
pub(crate) type StatusReport = Box<dyn Fn() -> Arc<str> + Send + Sync>;

/// A request that waits for its answer.
pub(crate) struct ReloadRequest {
    answer: Sender<String>,
}

impl ReloadRequest {
    /// Says what came of it.
    pub(crate) fn answer(self, text: String) {
        // The asker may have gone away; the reload happened all the same and is in the log.
        let _ = self.answer.try_send(text);
    }
}

/// The agent's end. The socket goes with it.
pub(crate) struct ControlSocket {
    path: PathBuf,
    requests: Receiver<ReloadRequest>,
    status: Arc<OnceLock<StatusReport>>,
}

impl ControlSocket {
    /// Listens in `data_dir`, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder is not root's own, or the socket cannot be made.
    pub(crate) fn open(data_dir: &Path) -> anyhow::Result<Self> {
        own_folder(data_dir)?;
        let path = data_dir.join(format!("qtap-{}.sock", std::process::id()));
        if path.exists() {
            // The former process with this pid is gone: it is our own pid.
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove the stale socket {}", path.display()))?;
        }
        tell_of_the_dead(data_dir);
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let (reloads, requests) = bounded(4);
        let status = Arc::new(OnceLock::new());
        let asked = Asked {
            reloads,
            status: Arc::clone(&status),
        };
        std::thread::Builder::new()
            .name("qtap-control".to_owned())
            .spawn(move || serve(&listener, &asked))
            .context("cannot start a thread")?;
        Ok(Self {
            path,
            requests,
            status,
        })
    }

    /// Answers requests for the status from now on. The first call counts.
    pub(crate) fn provide_status(&self, report: StatusReport) {
        if self.status.set(report).is_err() {
            tracing::debug!("the status is provided already");
        }
    }

    /// A request that waits, if there is one.
    pub(crate) fn next(&self) -> Option<ReloadRequest> {
        self.requests.try_recv().ok()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "socket is not removed");
        }
    }
}

/// Makes `folder` with mode 0700, or checks that it belongs to this user and is no link: it may lie in /tmp.
///
/// # Errors
/// When it cannot be made, or is not this user's alone.
pub(crate) fn own_folder(folder: &Path) -> anyhow::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot make the data folder {}", folder.display()));
        }
    }
    let found = std::fs::symlink_metadata(folder)?;
    let mine = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != mine || found.mode() & 0o022 != 0 {
        bail!(
            "the data folder {} is a link, not this user's own, or writable by others; remove it or give another with --data-dir",
            folder.display()
        );
    }
    Ok(())
}

/// Removes the sockets that nobody listens on, and says whose they were: an agent that was killed could not.
fn tell_of_the_dead(data_dir: &Path) {
    for (pid, path) in sockets(data_dir).into_iter().flatten() {
        let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        if !UnixStream::connect(&path).as_ref().is_err_and(refused) {
            continue;
        }
        tracing::warn!(
            pid,
            "a former agent was killed or broke down: it left its control socket (if it ran out of memory, the kernel's log says so)"
        );
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "its control socket is not removed");
        }
    }
}

/// The control sockets in `data_dir`, dead ones too, with the pids of their agents.
fn sockets(data_dir: &Path) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let pid_of = |name: &str| name.strip_prefix("qtap-")?.strip_suffix(".sock")?.parse().ok();
    let entries = std::fs::read_dir(data_dir)?;
    Ok(entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((pid_of(entry.file_name().to_str()?)?, entry.path())))
        .collect())
}

/// Whom a request goes to.
struct Asked {
    reloads: Sender<ReloadRequest>,
    status: Arc<OnceLock<StatusReport>>,
}

fn serve(listener: &UnixListener, asked: &Asked) {
    for stream in listener.incoming() {
        let served = stream.and_then(|stream| asked.serve_one(stream));
        if let Err(error) = served {
            tracing::debug!(%error, "control connection failed");
        }
    }
}

impl Asked {
    fn serve_one(&self, mut stream: UnixStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new((&stream).take(64)).read_line(&mut line)?;
        match line.trim() {
            RELOAD => stream.write_all(self.reload().as_bytes()),
            STATUS => match self.status.get() {
                Some(report) => stream.write_all(report().as_bytes()),
                None => stream.write_all(b"error: the agent is starting\n"),
            },
            _ => stream.write_all(b"error: unknown request\n"),
        }
    }

    fn reload(&self) -> String {
        let (answer, answered) = bounded(1);
        if self.reloads.try_send(ReloadRequest { answer }).is_err() {
            return "error: the agent is busy with other reloads\n".to_owned();
        }
        answered
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| "error: the agent did not answer in time\n".to_owned())
    }
}

/// `qtap reload-config`.
///
/// # Errors
/// As [`ask`].
pub(crate) fn reload(data_dir: &Path, pid: Option<u32>) -> anyhow::Result<ExitCode> {
    let answer = ask(data_dir, pid, RELOAD)?;
    print!("{answer}");
    Ok(if answer.starts_with("ok") {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Sends `request` to the agent `pid`, or to the only one there is, and returns its answer.
///
/// # Errors
/// When there is no agent, or several and none was named, or it does not answer.
pub(crate) fn ask(data_dir: &Path, pid: Option<u32>, request: &str) -> anyhow::Result<String> {
    let path = match pid {
        Some(pid) => data_dir.join(format!("qtap-{pid}.sock")),
        None => only_agent(data_dir)?,
    };
    let mut stream = UnixStream::connect(&path).with_context(|| {
        format!(
            "no agent answers on {}; is it running, with the same --data-dir?",
            path.display()
        )
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("the agent did not answer")?;
    if answer.is_empty() {
        bail!("the agent ended before it answered");
    }
    Ok(answer)
}

/// The socket of the only agent that answers.
fn only_agent(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let sockets = sockets(data_dir).with_context(|| {
        format!(
            "no agent is running: its folder {} cannot be read",
            data_dir.display()
        )
    })?;
    let alive: Vec<(u32, PathBuf)> = sockets
        .into_iter()
        .filter(|(_, path)| UnixStream::connect(path).is_ok())
        .collect();
    match alive.as_slice() {
        [(_, only)] => Ok(only.clone()),
        [] => bail!("no agent is running with --data-dir {}", data_dir.display()),
        several => {
            let pids: Vec<String> = several.iter().map(|(pid, _)| pid.to_string()).collect();
            bail!("several agents are running: name one ({})", pids.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("qtap-reload-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn answer(path: &Path, request: &str) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_request_is_answered_with_the_agents_words() {
        let folder = scratch("answer");
        let socket = ControlSocket::open(&folder).unwrap();
        let asker = std::thread::spawn({
            let path = socket.path.clone();
            move || answer(&path, "reload\n")
        });
        let request = std::iter::repeat_with(|| socket.next()).flatten().next().unwrap();
        request.answer("ok: done\n".to_owned());
        assert_eq!(asker.join().unwrap(), "ok: done\n");
        drop(socket);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn the_status_is_answered_without_the_main_thread_once_there_is_one() {
        let folder = scratch("status");
        let socket = ControlSocket::open(&folder).unwrap();
        assert_eq!(answer(&socket.path, "status\n"), "error: the agent is starting\n");
        socket.provide_status(Box::new(|| Arc::from("{}\n")));
        assert_eq!(ask(&folder, None, STATUS).unwrap(), "{}\n");
        assert_eq!(ask(&folder, Some(std::process::id()), STATUS).unwrap(), "{}\n");
        assert_eq!(answer(&socket.path, "dance\n"), "error: unknown request\n");
        drop(socket);
        std::fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let folder = scratch("writable");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(ControlSocket::open(&folder).is_err());
        std::fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn without_an_agent_the_request_says_so() {
        let folder = scratch("none");
        assert!(
            ask(&folder, None, STATUS)
                .unwrap_err()
                .to_string()
                .contains("no agent is running")
        );
    }
}
