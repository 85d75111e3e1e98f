//! Tests of the embedded store.

use super::*;
use fixtures::Directory;

fn write(key: &[u8], value: Option<&[u8]>) -> Write {
    Write {
        table: Table::Zones,
        key: key.to_vec(),
        value: value.map(<[u8]>::to_vec),
    }
}

fn keys(store: &RedbStore, prefix: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    store
        .scan(Table::Zones, prefix, &mut |key, _| {
            keys.push(key.to_vec());
            Ok(())
        })
        .unwrap();
    keys
}

#[test]
fn what_is_committed_is_there_after_reopening() {
    let directory = Directory::new();
    let path = directory.path().join("deep/er/postern.redb");
    let store = RedbStore::open(&path).unwrap();
    store
        .commit(0, &[write(b"ab", Some(b"1")), write(b"b", Some(b"2"))])
        .unwrap();
    store
        .commit(1, &[write(b"b", None), write(b"aa", Some(b"3"))])
        .unwrap();
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.revision().unwrap(), 2);
    assert_eq!(keys(&store, b"a"), [b"aa".to_vec(), b"ab".to_vec()]);
    assert_eq!(keys(&store, b""), [b"aa".to_vec(), b"ab".to_vec()]);
    assert_eq!(store.value(Table::Zones, b"b").unwrap(), None);
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "no draft stays"
    );
}

#[test]
fn a_store_of_an_older_format_gets_the_tables_that_it_lacks() {
    let directory = Directory::new();
    let path = directory.path().join("s");
    let store = RedbStore::open(&path).unwrap();
    store.commit(0, &[write(b"a", Some(b"1"))]).unwrap();
    let as_the_first = |database: &Database| {
        let transaction = database.begin_write()?;
        for table in YOUNGER_TABLES {
            transaction.delete_table(definition(table))?;
        }
        transaction
            .open_table(definition(Table::Meta))?
            .insert(FORMAT_KEY, 1_u64.to_be_bytes().as_slice())?;
        transaction.commit()?;
        Ok(())
    };
    store.run(as_the_first).unwrap();
    for table in YOUNGER_TABLES {
        assert!(store.value(table, b"").is_err());
    }
    drop(store);
    for round in 1..=2 {
        let store = RedbStore::open(&path).unwrap();
        for table in YOUNGER_TABLES {
            assert_eq!(store.value(table, b"").unwrap(), None, "{round}");
        }
        assert_eq!(keys(&store, b""), [b"a".to_vec()], "{round}");
        assert_eq!(store.check_format().unwrap(), FORMAT, "{round}");
    }
}

#[test]
fn what_an_older_format_has_says_that_it_is_of_this_one_once_it_is_open() {
    let directory = Directory::new();
    let path = directory.path().join("s");
    drop(RedbStore::open(&path).unwrap());
    for older in 1..FORMAT {
        let as_older = |database: &Database| {
            let transaction = database.begin_write()?;
            transaction
                .open_table(definition(Table::Meta))?
                .insert(FORMAT_KEY, older.to_be_bytes().as_slice())?;
            transaction.commit()?;
            Ok(())
        };
        RedbStore::open(&path).unwrap().run(as_older).unwrap();
        // Looking at it leaves it as it is.
        let before = fs::read(&path).unwrap();
        let (picture, found) = RedbStore::picture(&path).unwrap();
        assert_eq!((picture.check_format().unwrap(), found), (FORMAT, older));
        drop(picture);
        assert!(fs::read(&path).unwrap() == before, "{older}");
        // A copy that cannot be made keeps it as it is, too.
        let draft = copy_of(&path, &std::process::id().to_string());
        fs::create_dir(&draft).unwrap();
        let error = RedbStore::open(&path).err().unwrap();
        assert!(error.to_string().contains("Nothing was changed"), "{error}");
        fs::remove_dir(&draft).unwrap();
        assert_eq!(RedbStore::picture(&path).unwrap().1, older);
        let copies = || -> Vec<_> {
            let prefix = format!("s.format-{older}-");
            let files = fs::read_dir(directory.path()).unwrap();
            let files = files.map(|file| file.unwrap().path());
            let is_copy = |file: &PathBuf| {
                file.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with(&prefix)
            };
            files.filter(is_copy).collect()
        };
        assert!(copies().is_empty(), "{:?}", copies());
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.check_format().unwrap(), FORMAT, "{older}");
        drop(store);
        let [copy] = &copies()[..] else {
            panic!("{:?}", copies())
        };
        assert_eq!(RedbStore::picture(copy).unwrap().1, older);
        // The process that handed it over has made one.
        fs::copy(copy, &path).unwrap();
        fs::remove_file(copy).unwrap();
        let store = RedbStore::open_handed_over(&path).unwrap();
        assert_eq!(store.check_format().unwrap(), FORMAT, "{older}");
        assert!(copies().is_empty(), "{:?}", copies());
    }
}

#[test]
fn a_writer_with_an_old_picture_is_refused() {
    let directory = Directory::new();
    let store = RedbStore::open(&directory.path().join("s")).unwrap();
    store.commit(0, &[]).unwrap();
    let error = store.commit(0, &[write(b"x", Some(b"y"))]).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Moved {
                expected: 0,
                found: 1
            }
        ),
        "{error}"
    );
    assert_eq!(store.value(Table::Zones, b"x").unwrap(), None);
}

#[test]
fn a_locked_file_says_so() {
    let directory = Directory::new();
    let path = directory.path().join("s");
    let _first = RedbStore::open(&path).unwrap();
    for open in [
        RedbStore::open(&path).err(),
        RedbStore::picture(&path).err(),
    ] {
        let error = open.unwrap();
        assert!(matches!(error, StoreOpenError::InUse { .. }), "{error}");
    }
}

#[test]
fn damaged_files_are_refused_and_left_alone() {
    let directory = Directory::new();
    let good = directory.path().join("good");
    let store = RedbStore::open(&good).unwrap();
    store.commit(0, &[write(b"k", Some(&[7; 4000]))]).unwrap();
    drop(store);
    let bytes = fs::read(&good).unwrap();
    let half = bytes.len() / 2;
    let mut head = bytes.clone();
    head[..16].fill(0x55);
    for (name, content) in [
        ("empty", Vec::new()),
        (
            "text",
            b"this is not a store, it is a sentence\n".repeat(400),
        ),
        ("half", bytes[..half].to_vec()),
        ("head", head),
        ("short", bytes[..100].to_vec()),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, &content).unwrap();
        let error = RedbStore::open(&path)
            .err()
            .unwrap_or_else(|| panic!("{name} opened"));
        assert!(
            matches!(error, StoreOpenError::Corrupt { .. }),
            "{name}: {error}"
        );
        assert_eq!(fs::read(&path).unwrap(), content, "{name} was changed");
    }
}

#[test]
fn unusable_places_say_what_to_do() {
    let directory = Directory::new();
    let file = directory.path().join("file");
    fs::write(&file, b"x").unwrap();
    let error = RedbStore::open(&file.join("store")).err().unwrap();
    assert!(matches!(error, StoreOpenError::Directory { .. }), "{error}");
    let error = RedbStore::open(Path::new("/proc/postern/store"))
        .err()
        .unwrap();
    assert!(matches!(error, StoreOpenError::Directory { .. }), "{error}");
    let error = RedbStore::open(directory.path()).err().unwrap();
    assert!(matches!(error, StoreOpenError::File { .. }), "{error}");
}
