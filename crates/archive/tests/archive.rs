//! A backup's folder in a folder of this machine, and in a bucket.

#[allow(dead_code, reason = "it is shared with the tests of whole clusters")]
#[path = "../../../tests/src/bucket.rs"]
mod bucket;

use baton_archive::{Archive, ArchiveError, ArchivedFile, ArchivedPartition, Manifest};
use baton_model::{ArchivePlace, Durability, Lsn, ReplicationMode, Secret, StatementId};
use tempfile::TempDir;

use self::bucket::{BUCKET, Bucket, credentials};

const FOLDER: &str = "shop.backup";

fn manifest(files: Vec<ArchivedFile>) -> Manifest {
    Manifest {
        format: Manifest::format(),
        statement: StatementId(7),
        database: "shop".into(),
        at_ms: 0,
        replication: ReplicationMode::Sync,
        durability: Durability::Sync,
        tables: vec![],
        partitions: vec![ArchivedPartition { ordinal: 0, at: Lsn(9), files }],
        reference: vec![],
    }
}

fn folder() -> (TempDir, ArchivePlace) {
    let dir = tempfile::tempdir().unwrap();
    let place = ArchivePlace::Folder(dir.path().join("a/b").to_str().unwrap().to_owned());
    (dir, place)
}

fn in_bucket(bucket: &Bucket) -> ArchivePlace {
    ArchivePlace::S3 {
        path: format!("{BUCKET}/deep/er"),
        config: bucket.config(),
        credentials: Secret::new(credentials()),
    }
}

/// What holds of every place.
async fn is_a_place_for_backups(place: &ArchivePlace) {
    let archive = Archive::open(place, FOLDER, true).unwrap();
    assert_eq!(archive.manifest().await.unwrap(), None);
    let file = archive.put("run/p0-0", vec![7; 100_000], 3).await.unwrap();
    assert_eq!((file.bytes, file.rows), (100_000, 3));
    assert_eq!(archive.read(&file).await.unwrap(), vec![7; 100_000]);
    assert_eq!(archive.size("run/p0-0").await.unwrap(), Some(100_000));
    assert_eq!(archive.size("run/none").await.unwrap(), None);
    let other = ArchivedFile { name: "run/none".into(), ..file.clone() };
    assert!(matches!(archive.read(&other).await, Err(ArchiveError::Missing(_))));

    // It is a backup once its manifest is there, and there is one.
    let manifest = manifest(vec![file.clone()]);
    assert!(archive.finish(&manifest).await.unwrap());
    assert!(archive.finish(&manifest).await.unwrap(), "it finds itself");
    let anothers = Manifest { statement: StatementId(8), ..manifest.clone() };
    assert!(!archive.finish(&anothers).await.unwrap());
    assert_eq!(archive.manifest().await.unwrap(), Some(manifest.clone()));

    // Other bytes of the same length, and fewer of them, are told.
    archive.put("run/p0-0", vec![8; 100_000], 3).await.unwrap();
    assert!(matches!(archive.read(&file).await, Err(ArchiveError::Damaged { .. })));
    archive.put("run/p0-0", vec![7; 99_999], 3).await.unwrap();
    assert!(matches!(archive.read(&file).await, Err(ArchiveError::Damaged { .. })));

    archive.put("rum/other", vec![1], 1).await.unwrap();
    archive.put("run/p0-1", vec![1], 1).await.unwrap();
    archive.remove_attempts(&manifest).await.unwrap();
    assert!(archive.get("run/p0-0").await.unwrap().is_some());
    assert!(archive.manifest().await.unwrap().is_some());
    assert_eq!(archive.get("run/p0-1").await.unwrap(), None);
    assert_eq!(archive.get("rum/other").await.unwrap(), None);
    archive.put("rum/other", vec![1], 1).await.unwrap();
    archive.remove_below("run").await.unwrap();
    assert_eq!(archive.get("run/p0-0").await.unwrap(), None);
    assert!(archive.get("rum/other").await.unwrap().is_some());
    assert_eq!(Archive::open(place, "other.backup", false).unwrap().manifest().await.unwrap(), None);
}

#[tokio::test]
async fn a_folder_is_a_place_for_backups() {
    let (_dir, place) = folder();
    is_a_place_for_backups(&place).await;
}

#[tokio::test]
async fn a_bucket_is_a_place_for_backups() {
    let bucket = Bucket::start();
    is_a_place_for_backups(&in_bucket(&bucket)).await;
    assert!(
        bucket.objects().contains_key("deep/er/shop.backup/manifest.json"),
        "{:?}",
        bucket.objects().keys()
    );
    assert_eq!(bucket.refused(), 0);
}

#[tokio::test]
async fn a_bucket_that_fails_for_a_moment_is_asked_again() {
    let bucket = Bucket::start();
    let archive = Archive::open(&in_bucket(&bucket), FOLDER, true).unwrap();
    bucket.fail(2);
    let file = archive.put("run/a", vec![1], 1).await.unwrap();
    bucket.fail(1);
    assert_eq!(archive.read(&file).await.unwrap(), vec![1]);
}

#[tokio::test]
async fn a_manifest_whose_answer_is_lost_makes_a_backup_all_the_same() {
    let bucket = Bucket::start();
    let archive = Archive::open(&in_bucket(&bucket), FOLDER, true).unwrap();
    let manifest = manifest(vec![]);
    bucket.lose_answers(1);
    assert!(archive.finish(&manifest).await.unwrap());
    assert_eq!((bucket.written(), archive.manifest().await.unwrap()), (1, Some(manifest)));
}

#[tokio::test]
async fn a_bucket_that_does_not_know_the_key_refuses_and_the_secret_is_not_told() {
    let bucket = Bucket::start();
    let credentials = Secret::new(r#"{"aws_access_key_id": "other", "aws_secret_access_key": "hush"}"#);
    let place = ArchivePlace::S3 { path: BUCKET.into(), config: bucket.config(), credentials };
    let archive = Archive::open(&place, FOLDER, true).unwrap();
    let error = archive.put("run/a", vec![1], 1).await.unwrap_err();
    assert!(!format!("{error} {error:?} {archive:?}").contains("hush"), "{error:?} {archive:?}");
    assert!(bucket.refused() > 0 && bucket.objects().is_empty());
}

#[test]
fn a_place_that_can_be_none_is_refused_without_telling_what_is_secret() {
    let s3 = |path: &str, config: &str, credentials: &str| ArchivePlace::S3 {
        path: path.into(),
        config: config.into(),
        credentials: Secret::new(credentials),
    };
    let wrong = [
        ArchivePlace::Folder("not/absolute".into()),
        ArchivePlace::Folder("/proc/none/such".into()),
        s3("", "{}", "{}"),
        s3("bucket", "{\"no such\": \"hush\"}", ""),
        s3("bucket", "hush", ""),
        s3("bucket", "", "{\"aws_secret_access_key\": \"hush\"}"),
        s3("bucket", "", "{\"aws_secret_access_key\": \"hush"),
        s3("bucket", "", "{\"aws_secret_access_key\": [\"hush\"]}"),
    ];
    for place in wrong {
        let error = Archive::open(&place, FOLDER, true).unwrap_err();
        assert!(matches!(error, ArchiveError::Place(_)), "{error:?}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}
