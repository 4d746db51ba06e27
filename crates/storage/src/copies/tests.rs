//! Copies made on one disk and received on another, whole, broken off and damaged.

use baton_model::{DatabaseId, TableId};
use tempfile::TempDir;

use super::*;

const ONE: PartitionId = PartitionId { database: DatabaseId(1), ordinal: 0 };
const ROWS: u32 = 40_000;
const COPY: u64 = 0xABCD;

struct Stage {
    dir: TempDir,
    store: DataStore,
    shelf: CopyShelf,
    manifest: CopyManifest,
}

/// Rows that do not compress.
fn row(n: u32) -> Vec<u8> {
    let mut row = Vec::new();
    for part in 0..4_u32 {
        row.extend(Sha256::digest((n * 4 + part).to_be_bytes()));
    }
    row
}

impl Stage {
    /// A leaf with a partition of some chunks, and a copy of it.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DataStore::open(&dir.path().join("data")).unwrap();
        let rows = (0..ROWS).map(|n| (TableId(1), n.to_be_bytes().to_vec(), Some(row(n))));
        store.apply(ONE, Lsn(9), rows, &[("epochs", b"e1")]).unwrap();
        let shelf = CopyShelf::open(&dir.path().join("made")).unwrap();
        let manifest = shelf.make(&store, ONE, COPY, &["epochs"], |_| true).unwrap().unwrap();
        assert!(manifest.chunks().count() >= 4, "{:?}", manifest.chunks().collect::<Vec<_>>());
        Self { dir, store, shelf, manifest }
    }

    fn made(&self) -> PathBuf {
        self.dir.path().join("made")
    }

    /// Sends so many of the chunks that are next.
    fn send(&self, inbox: &mut CopyInbox, count: usize) {
        let next = inbox.next();
        for (file, chunk) in self.manifest.chunks().skip_while(|place| *place < next).take(count) {
            inbox.receive(file, chunk, &self.shelf.read(&self.manifest, file, chunk).unwrap()).unwrap();
        }
    }
}

struct Receiver {
    dir: TempDir,
}

impl Receiver {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn inbox(&self) -> PathBuf {
        self.dir.path().join("received")
    }

    fn begin(&self, stage: &Stage) -> CopyInbox {
        CopyInbox::begin(&self.inbox(), stage.manifest.clone()).unwrap()
    }

    fn install(&self, copy: u64) -> Result<DataStore, StoreError> {
        let store = DataStore::open(&self.dir.path().join("data"))?;
        CopyInbox::install(&self.inbox(), &store, ONE, copy, Lsn(9), &[("epochs", b"e1")])?;
        Ok(store)
    }
}

fn assert_same(store: &DataStore, other: &DataStore) {
    assert_eq!(store.applied(ONE).unwrap(), other.applied(ONE).unwrap());
    for n in 0..ROWS {
        let key = n.to_be_bytes();
        assert_eq!(store.get(ONE, TableId(1), &key).unwrap(), other.get(ONE, TableId(1), &key).unwrap());
    }
}

#[test]
fn a_copy_is_made_sent_and_installed() {
    let (stage, receiver) = (Stage::new(), Receiver::new());
    assert_eq!(stage.manifest.meta, [Some(b"e1".to_vec())]);
    let mut inbox = receiver.begin(&stage);
    stage.send(&mut inbox, usize::MAX);
    assert!(inbox.is_whole());
    let store = receiver.install(COPY).unwrap();
    assert_same(&store, &stage.store);
    assert_eq!(fs::read_dir(receiver.inbox().join("d1_0")).unwrap().count(), 0, "nothing is left");
}

#[test]
fn what_was_received_survives_a_restart_of_either_side() {
    let (stage, receiver) = (Stage::new(), Receiver::new());
    let mut inbox = receiver.begin(&stage);
    stage.send(&mut inbox, 2);
    drop(inbox);
    let shelf = CopyShelf::open(&stage.made()).unwrap();
    assert_eq!(shelf.manifest(COPY).as_ref(), Some(&stage.manifest), "it is still offered");
    let mut inbox = receiver.begin(&stage);
    assert_eq!(inbox.next(), (0, 2));
    stage.send(&mut inbox, 1);
    // A power cut tears the last chunk, and leaves something behind it.
    let part = inbox.part(0);
    drop(inbox);
    let mut bytes = fs::read(&part).unwrap();
    bytes[(2 << 20) + 17] ^= 1;
    bytes.extend([7; 1000]);
    fs::write(&part, bytes).unwrap();
    let mut inbox = receiver.begin(&stage);
    assert_eq!(inbox.next(), (0, 2), "it is asked for again");
    stage.send(&mut inbox, usize::MAX);
    // All was received, and its end not noticed.
    drop(inbox);
    assert!(receiver.begin(&stage).is_whole());
    assert_same(&receiver.install(COPY).unwrap(), &stage.store);
}

#[test]
fn a_damaged_chunk_is_not_taken() {
    let (stage, receiver) = (Stage::new(), Receiver::new());
    let mut inbox = receiver.begin(&stage);
    let mut chunk = stage.shelf.read(&stage.manifest, 0, 0).unwrap();
    chunk[100] ^= 1;
    assert!(matches!(inbox.receive(0, 0, &chunk), Err(ReceiveError::Damaged { file: 0, .. })));
    chunk[100] ^= 1;
    let short = &chunk[..chunk.len() - 1];
    assert!(matches!(inbox.receive(0, 0, short), Err(ReceiveError::Damaged { .. })));
    assert!(matches!(inbox.receive(0, 1, &chunk), Err(ReceiveError::OutOfOrder { file: 0, chunk: 1 })));
    assert!(matches!(inbox.receive(9, 0, &chunk), Err(ReceiveError::OutOfOrder { .. })));
    inbox.receive(0, 0, &chunk).unwrap();
    stage.send(&mut inbox, usize::MAX);
    assert!(inbox.is_whole());
}

#[test]
fn a_file_that_is_damaged_as_a_whole_comes_again_as_a_whole() {
    let (mut stage, receiver) = (Stage::new(), Receiver::new());
    // Each chunk fits its checksum, and the file does not.
    let last = stage.manifest.files[0].crc32.len() - 1;
    stage.manifest.files[0].sha256[0] ^= 1;
    let mut inbox = receiver.begin(&stage);
    stage.send(&mut inbox, last);
    let chunk = stage.shelf.read(&stage.manifest, 0, last).unwrap();
    assert!(matches!(inbox.receive(0, last, &chunk), Err(ReceiveError::Damaged { file: 0, .. })));
    assert_eq!(inbox.next(), (0, 0));
    assert!(!inbox.path(0).exists() && !inbox.part(0).exists());
}

#[test]
fn a_copy_that_is_not_all_here_is_not_installed_and_what_was_there_stays() {
    let (stage, receiver) = (Stage::new(), Receiver::new());
    let store = DataStore::open(&receiver.dir.path().join("data")).unwrap();
    store.apply(ONE, Lsn(3), [(TableId(1), b"old".to_vec(), Some(b"1".to_vec()))], &[]).unwrap();
    drop(store);
    assert!(receiver.install(COPY).is_err(), "there is nothing of it");
    let mut inbox = receiver.begin(&stage);
    stage.send(&mut inbox, 1);
    drop(inbox);
    assert!(receiver.install(COPY).is_err());
    let store = DataStore::open(&receiver.dir.path().join("data")).unwrap();
    assert_eq!(store.applied(ONE).unwrap(), Lsn(3));
    assert!(store.get(ONE, TableId(1), b"old").unwrap().is_some());
}

#[test]
fn what_was_received_of_another_copy_goes() {
    let (mut stage, receiver) = (Stage::new(), Receiver::new());
    let mut inbox = receiver.begin(&stage);
    stage.send(&mut inbox, 2);
    drop(inbox);
    stage.manifest.copy += 1;
    assert_eq!(receiver.begin(&stage).next(), (0, 0));
    // The same number, of another node.
    let mut inbox = receiver.begin(&stage);
    inbox
        .receive(0, 0, &fs::read(stage.made().join("000000000000abcd/000000.sst")).unwrap()[..1 << 20])
        .unwrap();
    drop(inbox);
    stage.manifest.at = Lsn(10);
    assert_eq!(receiver.begin(&stage).next(), (0, 0));
    assert_eq!(fs::read_dir(receiver.inbox().join("d1_0")).unwrap().count(), 1);
}

#[test]
fn a_copy_that_was_not_made_to_its_end_is_none() {
    let stage = Stage::new();
    assert_eq!(stage.shelf.make(&stage.store, ONE, COPY + 1, &[], |_| false).unwrap(), None);
    let half = stage.made().join("half");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("000000.sst"), b"some").unwrap();
    let shelf = CopyShelf::open(&stage.made()).unwrap();
    let copies = shelf.copies().unwrap();
    assert_eq!(copies.iter().map(|(manifest, _)| manifest.copy).collect::<Vec<_>>(), [COPY]);
    assert!(!half.exists());
    shelf.remove(COPY).unwrap();
    shelf.remove(COPY).unwrap();
    assert!(shelf.manifest(COPY).is_none());
    assert!(shelf.read(&stage.manifest, 0, 0).is_err());
}

#[test]
fn what_is_not_of_use_for_long_goes() {
    let (stage, receiver) = (Stage::new(), Receiver::new());
    let (_, used) = stage.shelf.copies().unwrap().remove(0);
    assert!(used.elapsed().unwrap() < Duration::from_secs(60));
    drop(receiver.begin(&stage));
    CopyInbox::sweep(&receiver.inbox(), Duration::from_secs(60)).unwrap();
    let of_partition = receiver.inbox().join("d1_0");
    assert_eq!(fs::read_dir(&of_partition).unwrap().count(), 1);
    std::thread::sleep(Duration::from_millis(20));
    CopyInbox::sweep(&receiver.inbox(), Duration::from_millis(1)).unwrap();
    assert_eq!(fs::read_dir(&of_partition).unwrap().count(), 0);
}
