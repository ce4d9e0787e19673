//! Container and pod from cgroup paths.

use crate::Container;

/// What `/proc/PID/cgroup` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Path of the v2 line (`0::…`), else of the first line.
    pub(crate) path: String,
    /// Container named by the v2 path, else by any other line: hybrid hosts keep containers in v1 hierarchies.
    pub(crate) container: Option<Container>,
    /// There is no other hierarchy than v2, so that the v2 id of the cgroup stands for all of this.
    pub(crate) unified: bool,
}

impl Membership {
    /// Parses the text of `/proc/PID/cgroup` (`cgroups(7)`: `id:controllers:path` a line).
    pub(crate) fn parse(text: &str) -> Self {
        let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        let unified_path = text.lines().find_map(|line| line.strip_prefix("0::"));
        let path = unified_path.or_else(|| paths().next()).unwrap_or_default();
        Self {
            path: path.to_owned(),
            container: container(path).or_else(|| paths().find_map(container)),
            unified: unified_path.is_some() && paths().count() == 1,
        }
    }
}

/// The container named by a cgroup path: its innermost component that holds exactly 64 hex digits in a row.
///
/// Covers `/docker/<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>`, `libpod-<id>.scope`,
/// `…:cri-containerd:<id>` and nested ones.
pub(crate) fn container(path: &str) -> Option<Container> {
    let id = path.rsplit('/').find_map(container_id)?;
    Some(Container {
        id,
        pod_uid: path.rsplit('/').find_map(pod_uid),
    })
}

fn container_id(component: &str) -> Option<String> {
    component
        .split(|character: char| !character.is_ascii_hexdigit())
        .rfind(|run| run.len() == 64)
        .map(str::to_ascii_lowercase)
}

/// `pod<uid>`, `kubepods-burstable-pod<uid>.slice`: the uid with dashes (systemd writes underscores), or 32 hex
/// digits as static pods have.
fn pod_uid(component: &str) -> Option<String> {
    let name = component.split(".slice").next().unwrap_or(component);
    let start = name.rfind("pod")? + "pod".len();
    let uid = name.get(start..)?.replace('_', "-");
    let digits = uid.chars().filter(|character| *character != '-').count();
    let valid = uid
        .chars()
        .all(|character| character == '-' || character.is_ascii_hexdigit());
    (valid && digits == 32).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const INNER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const POD: &str = "6dbd3eb5-6c6e-4c3e-9a3f-2f0e8a1d5b77";

    #[test]
    fn containers_of_every_runtime_are_found() {
        let systemd_pod = POD.replace('-', "_");
        for (path, id, pod) in [
            (format!("/docker/{ID}"), Some(ID), None),
            (format!("/system.slice/docker-{ID}.scope"), Some(ID), None),
            (format!("/machine.slice/libpod-{ID}.scope"), Some(ID), None),
            (
                format!("/machine.slice/libpod-{ID}.scope/container"),
                Some(ID),
                None,
            ),
            (
                format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
                Some(ID),
                None,
            ),
            (format!("/kubepods/besteffort/pod{POD}/{ID}"), Some(ID), Some(POD)),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{systemd_pod}.slice/cri-containerd-{ID}.scope"
                ),
                Some(ID),
                Some(POD),
            ),
            (
                format!("/kubepods.slice/kubepods-pod{systemd_pod}.slice/crio-{ID}"),
                Some(ID),
                Some(POD),
            ),
            (
                format!("/kubepods-besteffort-pod{systemd_pod}.slice:cri-containerd:{ID}"),
                Some(ID),
                Some(POD),
            ),
            (format!("/docker/{ID}/docker/{INNER}"), Some(INNER), None),
            (format!("/docker/{}", ID.to_uppercase()), Some(ID), None),
            (format!("/docker/{ID}0"), None, None),
            (format!("/docker/{}", &ID[1..]), None, None),
            ("/system.slice/ssh.service".to_owned(), None, None),
            ("/".to_owned(), None, None),
            (String::new(), None, None),
        ] {
            let found = container(&path);
            assert_eq!(
                found.as_ref().map(|container| container.id.as_str()),
                id,
                "{path}"
            );
            assert_eq!(
                found.and_then(|container| container.pod_uid).as_deref(),
                pod,
                "{path}"
            );
        }
    }

    #[test]
    fn static_pods_have_a_uid_without_dashes() {
        let uid = "0123456789abcdef0123456789abcdef";
        assert_eq!(pod_uid(&format!("pod{uid}")).as_deref(), Some(uid));
        assert_eq!(pod_uid("podman"), None);
    }

    #[test]
    fn the_unified_line_names_the_path_and_other_lines_may_name_the_container() {
        let hybrid = format!("9:name=systemd:/\n4:memory:/docker/{ID}\n0::/init.scope\n");
        let membership = Membership::parse(&hybrid);
        assert_eq!(membership.path, "/init.scope");
        assert_eq!(
            membership.container.map(|container| container.id).as_deref(),
            Some(ID)
        );
        assert!(!membership.unified);

        let legacy = Membership::parse("4:memory:/a:b\n3:cpu:/c\n");
        assert_eq!((legacy.path.as_str(), legacy.unified), ("/a:b", false));
        assert!(Membership::parse("0::/a\n").unified);
        assert_eq!(Membership::parse(""), Membership::default());
    }
}
