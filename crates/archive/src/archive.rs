//! One folder of a place for backups: files are put, read, checked, and removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_model::{ArchivePlace, Secret};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, PutMode, PutPayload, RetryConfig};
use sha2::{Digest, Sha256};

use crate::manifest::{ArchivedFile, Manifest};

/// The name of the manifest within a backup's folder.
const MANIFEST: &str = "manifest.json";
/// One request to a bucket takes no longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request that failed for a reason that may pass is sent again so often, and for so long, at most.
const RETRIES_MAX: usize = 5;
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);
/// The region of a bucket whose config names none.
const DEFAULT_REGION: &str = "us-east-1";

/// What went wrong with a place for backups.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The statement names a place that can be none.
    #[error("{0}")]
    Place(String),
    /// The store refused, or was not reached.
    #[error("cannot {verb} {name}: {source}")]
    Store {
        /// `read`, `write`, `list`, `remove`.
        verb: &'static str,
        /// The file.
        name: String,
        /// What it said.
        source: object_store::Error,
    },
    /// There is no such file.
    #[error("{0} is not there")]
    Missing(String),
    /// A file is not what its manifest says.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

/// The folder of one backup.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    /// Of a store of files, where they are.
    local: Option<PathBuf>,
}

impl Archive {
    /// The folder of this name in a place. In a store of files, the place is made if `create` says so.
    ///
    /// # Errors
    /// [`ArchiveError::Place`]; nothing is asked of a bucket yet.
    pub fn open(place: &ArchivePlace, folder: &str, create: bool) -> Result<Self, ArchiveError> {
        let wrong = |what: String| ArchiveError::Place(format!("The place {place} cannot be used: {what}"));
        match place {
            ArchivePlace::Folder(path) => {
                let root = PathBuf::from(path);
                if !root.is_absolute() {
                    return Err(wrong("it must be an absolute path, the same folder on every node".into()));
                }
                if create {
                    std::fs::create_dir_all(&root).map_err(|error| wrong(error.to_string()))?;
                }
                let store =
                    LocalFileSystem::new_with_prefix(&root).map_err(|error| wrong(error.to_string()))?;
                let local = Some(root.join(folder));
                Ok(Self { store: Arc::new(store), folder: Path::from(folder), local })
            }
            ArchivePlace::S3 { path, config, credentials } => {
                let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
                if bucket.is_empty() {
                    return Err(wrong("it names no bucket".into()));
                }
                let config = object("CONFIG", config, &["region", "endpoint_url"]).map_err(wrong)?;
                let keys = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
                let credentials = object("CREDENTIALS", Secret::reveal(credentials), &keys).map_err(wrong)?;
                let region = config.get("region").map_or(DEFAULT_REGION, String::as_str);
                let client =
                    ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
                let retry = RetryConfig {
                    max_retries: RETRIES_MAX,
                    retry_timeout: RETRY_TIMEOUT,
                    ..RetryConfig::default()
                };
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    .with_region(region)
                    .with_client_options(client)
                    .with_retry(retry);
                if let Some(endpoint) = config.get("endpoint_url") {
                    builder =
                        builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
                }
                let [id, secret, token] = keys.map(|key| credentials.get(key));
                match (id, secret) {
                    (Some(id), Some(secret)) => {
                        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
                    }
                    // A place for everybody; nothing of this machine is used that the statement does not name.
                    (None, None) => builder = builder.with_skip_signature(true),
                    _ => {
                        let what = "CREDENTIALS names one of aws_access_key_id and aws_secret_access_key";
                        return Err(wrong(what.into()));
                    }
                }
                if let Some(token) = token {
                    builder = builder.with_token(token);
                }
                let store = builder.build().map_err(|error| wrong(error.to_string()))?;
                let folder = Path::from(format!("{prefix}/{folder}"));
                Ok(Self { store: Arc::new(store), folder, local: None })
            }
        }
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.folder.clone(), |path, part| path.child(part))
    }

    /// Writes a file, durably where that is ours to say.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub async fn put(&self, name: &str, bytes: Vec<u8>, rows: u64) -> Result<ArchivedFile, ArchiveError> {
        let file = ArchivedFile {
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            sha256: hex::encode(Sha256::digest(&bytes)),
            rows,
        };
        self.store.put(&self.path(name), bytes.into()).await.map_err(failed("write", name))?;
        self.sync(name).await?;
        Ok(file)
    }

    /// What a store of files has in the system's cache only is handed to the disk.
    async fn sync(&self, name: &str) -> Result<(), ArchiveError> {
        let Some(local) = self.local.as_ref().map(|local| local.join(name)) else { return Ok(()) };
        let synced = tokio::task::spawn_blocking(move || {
            std::fs::File::open(&local)?.sync_all()?;
            local.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        });
        let synced = synced.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        synced.map_err(|error| {
            failed("write", name)(object_store::Error::Generic { store: "a folder", source: error.into() })
        })
    }

    /// A file, if it is there.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>, ArchiveError> {
        let found = match self.store.get(&self.path(name)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed("read", name)(error)),
        };
        found.bytes().await.map(Some).map_err(failed("read", name))
    }

    /// Whether a file is there, with its size.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub async fn size(&self, name: &str) -> Result<Option<u64>, ArchiveError> {
        match self.store.head(&self.path(name)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("read", name)(error)),
        }
    }

    /// A file that a manifest names, checked.
    ///
    /// # Errors
    /// [`ArchiveError`], also if it is not what the manifest says.
    pub async fn read(&self, file: &ArchivedFile) -> Result<Bytes, ArchiveError> {
        let bytes = self.get(&file.name).await?.ok_or_else(|| ArchiveError::Missing(file.name.clone()))?;
        let damaged = |what: String| ArchiveError::Damaged { name: file.name.clone(), what };
        if bytes.len() as u64 != file.bytes {
            return Err(damaged(format!("it has {} bytes instead of {}", bytes.len(), file.bytes)));
        }
        if hex::encode(Sha256::digest(&bytes)) != file.sha256 {
            return Err(damaged("its checksum is another one".into()));
        }
        Ok(bytes)
    }

    /// The manifest, checked; None if there is none, and so no backup.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn manifest(&self) -> Result<Option<Manifest>, ArchiveError> {
        let Some(bytes) = self.get(MANIFEST).await? else { return Ok(None) };
        let read = Manifest::from_bytes(&bytes);
        read.map(Some).map_err(|what| ArchiveError::Damaged { name: MANIFEST.into(), what })
    }

    /// Makes what was written a backup, unless there is one already; says whether the one that is there is this statement's.
    ///
    /// Whatever is said of the attempt, the manifest that is there decides: the answer to one that succeeded may be lost,
    /// and one that is sent twice finds itself.
    ///
    /// # Errors
    /// [`ArchiveError`]; then it may be there, or come later, or not, and nothing that it needs may be removed.
    pub async fn finish(&self, manifest: &Manifest) -> Result<bool, ArchiveError> {
        let payload = PutPayload::from(manifest.to_bytes());
        let put = self.store.put_opts(&self.path(MANIFEST), payload, PutMode::Create.into()).await;
        if let Err(error) = put {
            match self.manifest().await? {
                Some(there) if there.statement == manifest.statement => {}
                Some(_) => return Ok(false),
                None => return Err(failed("write", MANIFEST)(error)),
            }
        }
        self.sync(MANIFEST).await?;
        Ok(true)
    }

    /// Removes every file of a folder.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub async fn remove_below(&self, folder: &str) -> Result<(), ArchiveError> {
        self.remove(&self.path(folder), &BTreeSet::new()).await
    }

    /// Removes every file that does not belong to the finished backup: what attempts at it have left.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub async fn remove_attempts(&self, finished: &Manifest) -> Result<(), ArchiveError> {
        let own = finished.files().map(|file| file.name.as_str()).chain([MANIFEST]);
        self.remove(&self.folder, &own.map(|name| self.path(name)).collect()).await
    }

    async fn remove(&self, below: &Path, except: &BTreeSet<Path>) -> Result<(), ArchiveError> {
        let name = below.as_ref();
        let found: Vec<_> = self.store.list(Some(below)).try_collect().await.map_err(failed("list", name))?;
        for file in found.into_iter().filter(|file| !except.contains(&file.location)) {
            match self.store.delete(&file.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed("remove", file.location.as_ref())(error)),
            }
        }
        Ok(())
    }
}

fn failed(verb: &'static str, name: &str) -> impl FnOnce(object_store::Error) -> ArchiveError {
    let name = name.to_owned();
    move |source| ArchiveError::Store { verb, name, source }
}

/// A JSON object of texts with no other keys than these. What is wrong is said without what was given.
fn object(clause: &str, json: &str, keys: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let object: BTreeMap<String, String> = match json {
        "" => BTreeMap::new(),
        json => serde_json::from_str(json).map_err(|_| format!("{clause} is no JSON object of texts"))?,
    };
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(format!("{clause} has no key '{key}', but {}", keys.join(", "))),
        None => Ok(object),
    }
}
