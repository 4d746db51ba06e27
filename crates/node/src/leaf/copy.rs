//! Copies of whole partitions on their way from leaf to leaf: made and kept here for others, fetched from others.
//!
//! The core says when a copy is wanted and when one is to be taken in; files move here, beside the links.
//! A copy is made once and may be fetched by several replicas, and again after a link broke or either side restarted: it
//! is kept for `COPY_KEPT` after its last use, and at most `COPIES_KEPT_MAX` are there at once.
//! What is fetched is asked for from where it broke off, checked chunk by chunk and file by file, and paced by the global
//! variable `provisioning_bytes_per_second`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use baton_model::{Lsn, PartitionId};
use baton_storage::{CopyInbox, CopyManifest, CopyShelf, DataStore, ReceiveError, StoreError};
use baton_transport::{CallError, Inbound, Outbound};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::context::Context;
use crate::wire::{CopyNews, CopyWant, Opening, decode, encode};

/// A made copy that nobody fetches goes after this.
const COPY_KEPT: Duration = Duration::from_secs(300);
/// Made copies of one leaf, at most. Whoever wants one more waits until one is not in use: fetched to its end, or left alone
/// for long.
const COPIES_KEPT_MAX: usize = 16;
/// A made copy that was read within this, and not to its end, is in use.
const IN_USE: Duration = Duration::from_secs(30);
/// What was received of a copy and is not gone on with goes after this.
const RECEIVED_KEPT: Duration = Duration::from_secs(3600);
/// Between two looks at what is to go.
const SWEEP: Duration = Duration::from_secs(30);
/// Between two looks at whether there is room for one more copy.
const ROOM: Duration = Duration::from_millis(200);
/// Whoever sends a copy says something at least this often, and is given up after thrice the time.
const ALIVE: Duration = Duration::from_secs(3);
/// Chunks on their way, at most.
const CHUNKS_AHEAD: usize = 8;

/// A copy could not be fetched. The next attempt goes on where this one ended.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The primary was not reached, or the way to it broke.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It said nothing for too long, or ended in the middle, or what it said was none of it.
    #[error("the copy broke off: {0}")]
    BrokeOff(String),
    /// A chunk, or a file, is wrong, or the disk failed here.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        Self::Receive(error.into())
    }
}

/// A leaf's copies.
pub struct Copies {
    context: Arc<Context>,
    store: Arc<DataStore>,
    shelf: CopyShelf,
    received: PathBuf,
    /// One copy is made at a time.
    making: tokio::sync::Mutex<()>,
    /// Made copies that were fetched to their end, and are not being fetched again.
    fetched: Mutex<BTreeSet<u64>>,
    made: Pace,
    sent: Pace,
}

impl Copies {
    /// Opens what is there of the last run.
    ///
    /// # Errors
    /// If the disk cannot be read or written.
    pub fn open(context: Arc<Context>, store: Arc<DataStore>) -> Result<Arc<Self>, StoreError> {
        let dir = context.dir().path().join("copies");
        let shelf = CopyShelf::open(&dir.join("made"))?;
        let received = dir.join("received");
        let making = tokio::sync::Mutex::default();
        Ok(Arc::new(Self {
            context,
            store,
            shelf,
            received,
            making,
            fetched: Mutex::default(),
            made: Pace::default(),
            sent: Pace::default(),
        }))
    }

    /// Removes what has been kept for long enough, for as long as the node runs.
    pub async fn sweep_for_ever(self: Arc<Self>) {
        loop {
            if let Err(error) = block_in_place(|| self.sweep()) {
                warn!(%error, "old copies could not be removed");
            }
            tokio::select! {
                () = sleep(SWEEP) => {}
                () = self.context.shutdown.cancelled() => return,
            }
        }
    }

    fn sweep(&self) -> Result<(), StoreError> {
        for (manifest, used) in self.shelf.copies()? {
            if unused(used) > COPY_KEPT {
                self.remove(manifest.copy)?;
            }
        }
        CopyInbox::sweep(&self.received, RECEIVED_KEPT)
    }

    fn bytes_per_second(&self) -> u64 {
        self.context.catalog().number("provisioning_bytes_per_second")
    }

    /// A copy of a partition as of an LSN or a later one, with some of its small state: one that is kept, or a fresh one.
    /// None if `going` said no.
    ///
    /// # Errors
    /// If the disk cannot be read or written.
    pub async fn make(
        self: &Arc<Self>,
        partition: PartitionId,
        at_least: Lsn,
        fresh: bool,
        meta: &'static [&'static str],
        going: impl Fn() -> bool + Send + 'static,
    ) -> Result<Option<CopyManifest>, StoreError> {
        let fits = |own: &[CopyManifest]| {
            own.last()
                .filter(|newest| !fresh && newest.at >= at_least)
                .inspect(|m| self.shelf.touch(m.copy))
                .cloned()
        };
        // Who needs none that is made now does not wait for those who do.
        if let Some(kept) = block_in_place(|| self.kept(partition)).map(|own| fits(&own))? {
            return Ok(Some(kept));
        }
        let _making = self.making.lock().await;
        let own = block_in_place(|| self.kept(partition))?;
        if let Some(kept) = fits(&own) {
            return Ok(Some(kept));
        }
        // Nobody can go on from these.
        block_in_place(|| own.iter().try_for_each(|manifest| self.remove(manifest.copy)))?;
        while !block_in_place(|| self.make_room())? {
            if !going() {
                return Ok(None);
            }
            sleep(ROOM).await;
        }
        let copies = Arc::clone(self);
        let making = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let going = |bytes: u64| {
                std::thread::sleep(copies.made.due(bytes, copies.bytes_per_second()));
                going()
            };
            let made = copies.shelf.make(&copies.store, partition, rand::random(), meta, going)?;
            if let Some(made) = &made {
                let (at, bytes, took) = (made.at, made.bytes(), began.elapsed());
                info!(%partition, copy = made.copy, %at, bytes, ?took, "made a copy for a replica");
            }
            Ok(made)
        });
        making.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// The made copies of a partition that are there, the newest last.
    fn kept(&self, partition: PartitionId) -> Result<Vec<CopyManifest>, StoreError> {
        let kept = self.shelf.copies()?.into_iter().map(|(manifest, _)| manifest);
        let mut own: Vec<CopyManifest> = kept.filter(|manifest| manifest.partition == partition).collect();
        own.sort_by_key(|manifest| manifest.at);
        Ok(own)
    }

    /// Whether one more copy may be made; the one that was not used for longest goes for it.
    fn make_room(&self) -> Result<bool, StoreError> {
        let mut kept = self.shelf.copies()?;
        let fetched = self.fetched().clone();
        kept.sort_by_key(|(manifest, used)| (!fetched.contains(&manifest.copy), *used));
        let surplus = (kept.len() + 1).saturating_sub(COPIES_KEPT_MAX);
        for (manifest, used) in kept.iter().take(surplus) {
            if unused(*used) < IN_USE && !fetched.contains(&manifest.copy) {
                return Ok(false);
            }
            self.remove(manifest.copy)?;
        }
        Ok(true)
    }

    fn remove(&self, copy: u64) -> Result<(), StoreError> {
        self.fetched().remove(&copy);
        self.shelf.remove(copy)
    }

    fn fetched(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a copy to whoever asks for it.
    pub fn serve(self: &Arc<Self>, partition: PartitionId, copy: u64, inbound: Inbound) -> Outbound {
        let (sender, outbound) = mpsc::channel(CHUNKS_AHEAD);
        let copies = Arc::clone(self);
        tokio::spawn(async move {
            let manifest = copies.shelf.manifest(copy).filter(|manifest| manifest.partition == partition);
            let gone = || CopyNews::Refused(format!("copy {copy:016x} of {partition} is gone"));
            match manifest {
                Some(manifest) => {
                    if let Err(error) = copies.send(&manifest, &sender, inbound).await {
                        warn!(%partition, %error, "a copy could not be sent");
                        say(&sender, &gone()).await;
                    }
                }
                None => {
                    say(&sender, &gone()).await;
                }
            }
        });
        outbound
    }

    async fn send(
        &self,
        manifest: &CopyManifest,
        sender: &mpsc::Sender<Bytes>,
        mut inbound: Inbound,
    ) -> Result<(), StoreError> {
        self.fetched().remove(&manifest.copy);
        if !say(sender, &CopyNews::Manifest(manifest.clone())).await {
            return Ok(());
        }
        let wanted = timeout(3 * ALIVE, inbound.recv()).await;
        let Ok(Some(Ok(wanted))) = wanted else { return Ok(()) };
        let Ok(CopyWant::From { file, chunk }) = decode::<CopyWant>(&wanted) else { return Ok(()) };
        let from = (file as usize, chunk as usize);
        for (file, chunk) in manifest.chunks().skip_while(|place| *place < from) {
            let bytes = block_in_place(|| {
                self.shelf.touch(manifest.copy);
                self.shelf.read(manifest, file, chunk)
            })?;
            let mut due = self.sent.due(bytes.len() as u64, self.bytes_per_second());
            while due > ALIVE && say(sender, &CopyNews::Alive).await {
                sleep(ALIVE).await;
                due -= ALIVE;
            }
            sleep(due).await;
            if let Some(Ok(said)) = inbound.try_recv()
                && let Ok(CopyWant::Damaged(what)) = decode(&said)
            {
                warn!(partition = %manifest.partition, what, "a copy turned out damaged; the next one is made anew");
                return self.remove(manifest.copy);
            }
            let chunk = CopyNews::Chunk { file: file as u32, chunk: chunk as u32, bytes: bytes.into() };
            if !say(sender, &chunk).await {
                return Ok(());
            }
        }
        if !say(sender, &CopyNews::End).await {
            return Ok(());
        }
        match timeout(3 * ALIVE, inbound.recv()).await {
            // If the last of it is damaged, it is said now.
            Ok(Some(Ok(said))) => {
                if let Ok(CopyWant::Damaged(what)) = decode(&said) {
                    warn!(partition = %manifest.partition, what, "a copy turned out damaged; the next one is made anew");
                    self.remove(manifest.copy)?;
                }
            }
            // Whoever has all of it just goes.
            Ok(None) => {
                self.fetched().insert(manifest.copy);
            }
            Ok(Some(Err(_))) | Err(_) => {}
        }
        Ok(())
    }

    /// Fetches a copy, or what is missing of it, from a node's RPC address.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch(&self, address: &str, partition: PartitionId, copy: u64) -> Result<(), FetchError> {
        let (sender, mut inbound) = self.context.open(address, &Opening::Copy { partition, copy }).await?;
        let began = Instant::now();
        let CopyNews::Manifest(manifest) = hear(&mut inbound).await? else {
            return Err(FetchError::BrokeOff("it did not begin with its manifest".into()));
        };
        if manifest.partition != partition || manifest.copy != copy {
            return Err(FetchError::BrokeOff("it is another copy than was asked for".into()));
        }
        let (all, at) = (manifest.bytes(), manifest.at);
        let mut inbox = block_in_place(|| CopyInbox::begin(&self.received, manifest))?;
        let (file, chunk) = inbox.next();
        let from = CopyWant::From { file: file as u32, chunk: chunk as u32 };
        let mut received = 0_u64;
        let _ = sender.send(encode(&from).into()).await;
        loop {
            match hear(&mut inbound).await? {
                CopyNews::Alive => {}
                CopyNews::Chunk { file, chunk, bytes } => {
                    received += bytes.len() as u64;
                    let taken = block_in_place(|| inbox.receive(file as usize, chunk as usize, &bytes));
                    if let Err(error) = taken {
                        if let ReceiveError::Damaged { .. } = &error {
                            let damaged = CopyWant::Damaged(error.to_string());
                            let _ = sender.send(encode(&damaged).into()).await;
                            // Heard to its end, so that this is heard: who goes away takes with it what it said.
                            let drained = async { while let Some(Ok(_)) = inbound.recv().await {} };
                            let _ = timeout(ALIVE, drained).await;
                        }
                        return Err(error.into());
                    }
                }
                CopyNews::End if inbox.is_whole() => break,
                CopyNews::Refused(why) => return Err(FetchError::BrokeOff(why)),
                CopyNews::End => return Err(FetchError::BrokeOff("it ended before its end".into())),
                CopyNews::Manifest(_) => return Err(FetchError::BrokeOff("it began twice".into())),
            }
        }
        info!(%partition, copy, %at, bytes = all, received, took = ?began.elapsed(), "fetched a copy");
        Ok(())
    }

    /// Lets a copy that was fetched take the place of all there is of a partition; see [`CopyInbox::install`].
    ///
    /// # Errors
    /// If the disk cannot be read or written.
    pub async fn install(
        self: &Arc<Self>,
        partition: PartitionId,
        copy: u64,
        at: Lsn,
        meta: Vec<(&'static str, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        let copies = Arc::clone(self);
        let installing = tokio::task::spawn_blocking(move || {
            let meta: Vec<(&str, &[u8])> =
                meta.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
            CopyInbox::install(&copies.received, &copies.store, partition, copy, at, &meta)
        });
        installing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn unused(used: SystemTime) -> Duration {
    used.elapsed().unwrap_or_default()
}

async fn say(sender: &mpsc::Sender<Bytes>, news: &CopyNews) -> bool {
    sender.send(encode(news).into()).await.is_ok()
}

async fn hear(inbound: &mut Inbound) -> Result<CopyNews, FetchError> {
    match timeout(3 * ALIVE, inbound.recv()).await {
        Ok(Some(Ok(bytes))) => decode(&bytes).map_err(|garbled| FetchError::BrokeOff(garbled.to_string())),
        Ok(Some(Err(lost))) => Err(FetchError::BrokeOff(lost.to_string())),
        Ok(None) => Err(FetchError::BrokeOff("the other side ended it".into())),
        Err(_) => Err(FetchError::BrokeOff(format!("silence for {:?}", 3 * ALIVE))),
    }
}

/// Spreads bytes over time.
#[derive(Default)]
pub struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// How long to wait before these bytes, so that all together are no more than so many a second; 0 is no limit.
    pub fn due(&self, bytes: u64, bytes_per_second: u64) -> Duration {
        self.due_at(Instant::now(), bytes, bytes_per_second)
    }

    fn due_at(&self, now: Instant, bytes: u64, bytes_per_second: u64) -> Duration {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = free.map_or(now, |free| free.max(now));
        if bytes_per_second == 0 {
            *free = None;
            return Duration::ZERO;
        }
        *free = Some(begin + Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64));
        begin.duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_time() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.due_at(now, 1_000, 1_000), Duration::ZERO, "the first ones go at once");
        assert_eq!(pace.due_at(now, 500, 1_000), Duration::from_secs(1));
        assert_eq!(pace.due_at(now, 500, 1_000), Duration::from_millis(1_500));
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.due_at(later, 1_000, 1_000), Duration::ZERO, "what was not used is not saved up");
        assert_eq!(pace.due_at(later, 1 << 40, 0), Duration::ZERO, "0 is no limit");
        assert_eq!(pace.due_at(later, 1, 1_000), Duration::ZERO);
    }
}
