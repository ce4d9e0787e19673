//! Leaving the control group by which the agent may be frozen.
//!
//! Who freezes a container or a service (`docker pause`, `systemctl freeze`) freezes all its processes. The one that holds programs must go on
//! then, or every program that is new waits for it, that which would thaw it too. The root of a hierarchy of control groups cannot be frozen.

use std::path::{Path, PathBuf};

/// Why this process may be frozen with its group.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stays {
    #[error("cannot read /proc/self/mountinfo")]
    Mounts(#[source] std::io::Error),
    #[error("the control groups of the host are not mounted here")]
    NoHierarchy,
    #[error("{} is not the root of the control groups, as in a container with a view of its own", .0.display())]
    NotTheRoot(PathBuf),
    #[error("cannot enter the root of the control groups at {}", .0.display())]
    Refused(PathBuf, #[source] std::io::Error),
}

/// A mounted hierarchy that can freeze.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    mounted_at: PathBuf,
    /// It shows all of it, or a part.
    from_its_root: bool,
    /// The file that every group has but the root.
    freezes_by: &'static str,
}

/// Moves this process to the root of each hierarchy that can freeze it.
pub(super) fn leave() -> Result<(), Stays> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(Stays::Mounts)?;
    let hierarchies = hierarchies(&mounts);
    if hierarchies.is_empty() {
        return Err(Stays::NoHierarchy);
    }
    hierarchies.into_iter().try_for_each(enter_root)
}

fn enter_root(hierarchy: Hierarchy) -> Result<(), Stays> {
    let root = hierarchy.mounted_at;
    if !hierarchy.from_its_root || root.join(hierarchy.freezes_by).exists() {
        return Err(Stays::NotTheRoot(root));
    }
    // 0 is the process that writes.
    match std::fs::write(root.join("cgroup.procs"), "0") {
        Ok(()) => Ok(()),
        Err(error) => Err(Stays::Refused(root, error)),
    }
}

/// Those in the text of mountinfo (proc(5)): the second version, and the one of the first that freezes.
fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else {
            continue;
        };
        let mut mount = mount.split(' ').skip(3);
        let mut file_system = file_system.split(' ');
        let (Some(root), Some(at)) = (mount.next(), mount.next()) else {
            continue;
        };
        let options = file_system.clone().nth(2).unwrap_or_default();
        let freezes_by = match file_system.next() {
            Some("cgroup2") => "cgroup.freeze",
            Some("cgroup") if options.split(',').any(|option| option == "freezer") => "freezer.state",
            _ => continue,
        };
        // A hierarchy may be mounted several times.
        if found.iter().all(|other| other.freezes_by != freezes_by) {
            found.push(Hierarchy {
                mounted_at: Path::new(at).to_owned(),
                from_its_root: root == "/",
                freezes_by,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_among_the_mounts() {
        let mounts = "\
            24 1 0:22 / /proc rw - proc proc rw\n\
            31 24 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate\n\
            32 24 0:28 / /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n\
            33 24 0:29 /docker/12 /sys/fs/cgroup/freezer ro - cgroup cgroup rw,freezer\n\
            34 24 0:29 / /mnt rw - cgroup cgroup rw,freezer\n";
        let hierarchy = |at: &str, from_its_root, freezes_by| Hierarchy {
            mounted_at: at.into(),
            from_its_root,
            freezes_by,
        };
        assert_eq!(
            hierarchies(mounts),
            [
                hierarchy("/sys/fs/cgroup/unified", true, "cgroup.freeze"),
                hierarchy("/sys/fs/cgroup/freezer", false, "freezer.state"),
            ]
        );
    }

    #[test]
    fn what_can_be_frozen_itself_is_no_root() {
        let folder = std::env::temp_dir().join(format!("qtap-freezer-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let hierarchy = |from_its_root| Hierarchy {
            mounted_at: folder.clone(),
            from_its_root,
            freezes_by: "cgroup.freeze",
        };
        assert!(matches!(enter_root(hierarchy(false)), Err(Stays::NotTheRoot(_))));
        enter_root(hierarchy(true)).unwrap();
        let entered = std::fs::read_to_string(folder.join("cgroup.procs"));
        assert_eq!(entered.unwrap(), "0");
        std::fs::write(folder.join("cgroup.freeze"), "0").unwrap();
        assert!(matches!(enter_root(hierarchy(true)), Err(Stays::NotTheRoot(_))));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
