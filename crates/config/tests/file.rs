//! Loading, watching and loading again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use qtap_config::{Config, ConfigFile, Direction, LoadError, load_file, load_reader};

fn text(direction: &str) -> String {
    format!("version: 2\ntap: {{direction: {direction}}}\n")
}

/// Two looks: one sees the new state, the next one that it has settled.
fn settle(file: &mut ConfigFile) -> [bool; 2] {
    [file.changed(), file.changed()]
}

#[test]
fn a_change_is_seen_once_and_after_it_has_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qtap.yaml");
    fs::write(&path, text("all")).unwrap();
    let (mut file, config, warnings) = ConfigFile::open(&path).unwrap();
    assert_eq!((config.tap.direction, warnings.len()), (Direction::All, 0));
    assert_eq!(settle(&mut file), [false, false]);

    fs::write(&path, text("ingress")).unwrap();
    assert_eq!(settle(&mut file), [false, true]);
    assert_eq!(
        file.reload().unwrap().unwrap().0.tap.direction,
        Direction::Ingress
    );
    assert_eq!(settle(&mut file), [false, false]);
    assert!(file.reload().unwrap().is_none());
}

/// What users copy works, without a warning.
#[test]
fn the_examples_of_the_documentation_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let examples: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        let (_, warnings) =
            load_file(&example).unwrap_or_else(|error| panic!("{}: {error}", example.display()));
        assert!(warnings.is_empty(), "{}: {warnings:?}", example.display());
    }
}

#[test]
fn a_file_still_being_written_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qtap.yaml");
    fs::write(&path, text("all")).unwrap();
    let (mut file, _, _) = ConfigFile::open(&path).unwrap();
    for length in 1..5 {
        fs::write(&path, "#".repeat(length)).unwrap();
        assert!(!file.changed());
    }
    assert!(file.changed());
}

#[test]
fn a_bad_file_is_reported_and_the_one_in_use_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qtap.yaml");
    fs::write(&path, text("all")).unwrap();
    let (mut file, _, _) = ConfigFile::open(&path).unwrap();
    fs::write(&path, text("sideways")).unwrap();
    assert_eq!(settle(&mut file), [false, true]);
    for _ in 0..2 {
        assert!(matches!(file.reload(), Err(LoadError::Invalid(found)) if found.len() == 1));
    }
    assert_eq!(settle(&mut file), [false, false]);
    // Back to the text in use: a change of the file, not of the configuration.
    fs::write(&path, text("all")).unwrap();
    assert_eq!(settle(&mut file), [false, true]);
    assert!(file.reload().unwrap().is_none());
}

#[test]
fn a_swapped_link_is_a_change() {
    // The way Kubernetes publishes a ConfigMap: qtap.yaml -> ..data/qtap.yaml, ..data -> a folder, swapped by rename.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let publish = |name: &str, direction: &str| {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("qtap.yaml"), text(direction)).unwrap();
        symlink(name, root.join("..tmp")).unwrap();
        fs::rename(root.join("..tmp"), root.join("..data")).unwrap();
    };
    publish("..1", "all");
    symlink("..data/qtap.yaml", root.join("qtap.yaml")).unwrap();
    let (mut file, _, _) = ConfigFile::open(root.join("qtap.yaml")).unwrap();
    publish("..2", "egress");
    assert_eq!(settle(&mut file), [false, true]);
    assert_eq!(file.reload().unwrap().unwrap().0.tap.direction, Direction::Egress);
}

#[test]
fn a_file_that_goes_away_is_an_error_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qtap.yaml");
    fs::write(&path, text("all")).unwrap();
    let (mut file, _, _) = ConfigFile::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(settle(&mut file), [false, true]);
    let error = file.reload().unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read configuration "),
        "{error}"
    );
    assert_eq!(settle(&mut file), [false, false]);
}

#[test]
fn what_is_not_a_readable_text_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qtap.yaml");
    fs::write(&path, b"version: 2\n\xff").unwrap();
    assert!(matches!(
        load_file(&path),
        Err(LoadError::NotText { offset: 11, .. })
    ));
    assert!(matches!(load_file(folder.path()), Err(LoadError::Read { .. })));
    for url in ["http://example.com/qtap.yaml", "HTTPS://example.com/"] {
        let error = load_file(Path::new(url)).unwrap_err();
        let expected = format!(
            "cannot load configuration from {url}: loading from an address is not available yet; give a file"
        );
        assert_eq!(error.to_string(), expected);
    }
    fs::write(&path, "#".repeat(qtap_config::MAX_FILE + 1)).unwrap();
    assert!(matches!(load_file(&path), Err(LoadError::Invalid(_))));
}

#[test]
fn a_stream_is_loaded_like_a_file() {
    let (config, _) = load_reader("<stdin>", Config::default_yaml().as_bytes()).unwrap();
    assert_eq!(config, Config::built_in());
    let error = load_reader("<stdin>", &b"tap: 1"[..]).unwrap_err();
    assert!(error.to_string().contains("<stdin>:1:6"), "{error}");
}
