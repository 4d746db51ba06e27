//! Transactions as a leaf takes part in them, and hand-overs, which wait for them.

use super::*;

const ORIGIN: Origin =
    Origin { aggregator: NodeId(1), incarnation: Incarnation(1), began_at: CatalogIndex(1) };
const TRANSACTION: TransactionId = TransactionId::new(1, 1);
const OTHER: TransactionId = TransactionId::new(2, 2);

impl Stage {
    /// A statement of a transaction, its number given; its workspace is found, or opened.
    async fn write_within(
        &self,
        transaction: TransactionId,
        number: u32,
        operation: WriteOperation,
    ) -> Result<WrittenWithin, DataRefusal> {
        let statement = StatementId(transaction.0 << 32 | u128::from(number));
        let request = WriteRequest { partition: PARTITION, statement, lock_wait_ms: 2_000, operation };
        let member = Membership { transaction, origin: ORIGIN, place: None, number, keep: 1 };
        self.leaf.write_within(request, member).await
    }

    async fn put(&self, transaction: TransactionId, number: u32, keys: &[u8]) -> Result<Place, DataRefusal> {
        let rows = keys.iter().map(|key| row(*key, 1)).collect();
        let operation = WriteOperation::Insert { table: TABLE, replace: true, rows };
        Ok(self.write_within(transaction, number, operation).await?.place)
    }

    async fn end(&self, request: Request) -> Answer {
        timeout(LONG, self.leaf.end_transaction(PARTITION, request)).await.expect("it answers")
    }

    async fn get_within(&self, transaction: TransactionId, place: Place, key: u8) -> bool {
        let within = Some(Within { transaction, place, locked_only: false });
        let request = GetRequest { partition: PARTITION, table: TABLE, keys: vec![vec![key]], within };
        self.leaf.get(&request).await.unwrap()[0].is_some()
    }

    async fn has(&self, key: u8) -> bool {
        self.get(key..key + 1).await.unwrap()[0].is_some()
    }
}

/// A home that is not there.
fn home() -> Home {
    let partition = PartitionId { database: DatabaseId(1), ordinal: 9 };
    Home { partition, place: Place { epoch: Epoch(1), number: 1 } }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_sees_what_it_wrote_and_nobody_else_does_before_its_commit() {
    let stage = Stage::new().await;
    stage.insert(1, vec![row(1, 1)]).await.unwrap();
    let place = stage.put(TRANSACTION, 1, &[2]).await.unwrap();
    let deleted = stage.write_within(TRANSACTION, 2, delete_all()).await.unwrap();
    assert_eq!((deleted.place, deleted.affected_rows), (place, 2));
    assert_eq!(stage.put(TRANSACTION, 3, &[3]).await, Ok(place));
    assert_eq!(stage.put(TRANSACTION, 3, &[3]).await, Ok(place), "a retry is answered");
    assert!(!stage.get_within(TRANSACTION, place, 1).await && stage.get_within(TRANSACTION, place, 3).await);
    assert!(stage.has(1).await && !stage.has(3).await);

    let back = TakeBackRequest { partition: PARTITION, transaction: TRANSACTION, place, after: 1, begun: 3 };
    assert!(stage.leaf.take_back(&back).unwrap().has_written);
    assert!(stage.get_within(TRANSACTION, place, 1).await && !stage.get_within(TRANSACTION, place, 3).await);
    assert_eq!(
        stage.put(TRANSACTION, 3, &[3]).await,
        Err(DataRefusal::RolledBack),
        "a copy of it comes late"
    );
    assert!(!stage.get_within(TRANSACTION, place, 3).await);

    let commit = || Request::Commit { transaction: TRANSACTION, place, prepared: vec![] };
    assert_eq!(stage.end(commit()).await, Answer::Committed);
    assert!(stage.has(2).await);
    assert_eq!(stage.end(commit()).await, Answer::Committed, "a retry is answered from the rows");
    let known = stage.leaf.knowledge(TRANSACTION, CatalogIndex(0), &[(PARTITION, Epoch(1))]);
    assert_eq!(known, [(PARTITION, Knowledge::Committed)]);
    let known = stage.leaf.knowledge(OTHER, CatalogIndex(0), &[(PARTITION, Epoch(1))]);
    assert_eq!(known, [(PARTITION, Knowledge::Nothing)]);
    let known = stage.leaf.knowledge(OTHER, CatalogIndex(0), &[(PARTITION, Epoch(2))]);
    assert_eq!(known, [], "an older primary cannot say it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_that_closes_a_circle_of_waits_is_told_at_once() {
    let stage = Stage::new().await;
    stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    stage.put(OTHER, 1, &[2]).await.unwrap();
    let second = async {
        while stage.leaf.waits().is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
        let refused = stage.put(OTHER, 2, &[1]).await;
        let rolled_back = Request::Finish { transaction: OTHER, commit: false };
        assert_eq!(stage.end(rolled_back).await, Answer::Finished);
        refused
    };
    let (first, second) = tokio::join!(stage.put(TRANSACTION, 2, &[2]), second);
    assert_eq!(second, Err(DataRefusal::Deadlock));
    assert!(first.is_ok(), "{first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_lock_is_told_when_its_transaction_is_over() {
    let stage = Stage::new().await;
    stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    let waiting = stage.put(OTHER, 1, &[1]);
    let over = async {
        while stage.leaf.waits().is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
        stage.end(Request::Finish { transaction: OTHER, commit: false }).await
    };
    let (waiting, over) = tokio::join!(waiting, over);
    assert_eq!((waiting, over), (Err(DataRefusal::RolledBack), Answer::Finished));
    let commit = Request::Finish { transaction: TRANSACTION, commit: false };
    assert_eq!(stage.end(commit).await, Answer::Finished);
    assert!(!stage.has(1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_what_is_prepared_is_waited_for_by_readers_and_survives_its_primary() {
    let stage = Stage::new().await;
    let place = stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    let prepare = || Request::Prepare { transaction: TRANSACTION, place, home: home() };
    assert_eq!(stage.end(prepare()).await, Answer::Prepared);
    assert_eq!(stage.get(1..2).await, Err(DataRefusal::InDoubt), "it may be committed");
    assert!(!stage.has(2).await, "others are read");

    // The leaf's process ends, and another run of it takes over with what is on disk.
    stage.see(2, THERE, &[(HERE, SyncState::Async)]).await;
    stage.wait_until_it_serves(None).await;
    let settings = Settings { sync_replica_timeout: LONG, ..Settings::default() };
    let replicas = std::collections::BTreeMap::new();
    let view = View {
        epoch: Epoch(3),
        version: 3,
        primary: HERE,
        armed: true,
        replicas,
        sync_replication: true,
        sync_durability: true,
        unsynced: false,
        settings,
    };
    stage.instance().see(view).await;
    stage.wait_until_it_serves(Some(Epoch(3))).await;
    assert_eq!(stage.end(prepare()).await, Answer::Prepared, "it still is");
    let locked = stage.insert(7, vec![row(1, 1)]).await.unwrap_err();
    assert_eq!(code(&locked), Some(ErrorCode::LockWaitTimeout));

    let reading = stage.has(1);
    let finish = async {
        sleep(Duration::from_millis(50)).await;
        stage.end(Request::Finish { transaction: TRANSACTION, commit: true }).await
    };
    let (seen, finished) = tokio::join!(reading, finish);
    assert_eq!((seen, finished), (true, Answer::Finished), "the reader waited for it");
    let left = stage.leaf.store.tables(PARTITION).unwrap();
    assert_eq!(left, [TABLE], "nothing is prepared any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_for_what_was_prepared_when_it_began_and_for_nothing_later() {
    let stage = Stage::new().await;
    let first = stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    let second = stage.put(OTHER, 1, &[2]).await.unwrap();
    let prepare = |transaction, place| Request::Prepare { transaction, place, home: home() };
    assert_eq!(stage.end(prepare(TRANSACTION, first)).await, Answer::Prepared);
    let meanwhile = async {
        sleep(Duration::from_millis(50)).await;
        assert_eq!(stage.end(prepare(OTHER, second)).await, Answer::Prepared);
        let finish = Request::Finish { transaction: TRANSACTION, commit: true };
        assert_eq!(stage.end(finish).await, Answer::Finished);
    };
    // Another one is always prepared where many commit; a reader of all rows must come to its turn.
    let (news, ()) = tokio::join!(stage.scan(Access::All), meanwhile);
    assert!(matches!(news.last(), Some(ScanNews::End)), "it saw {} messages", news.len());
    assert_eq!(stage.get(2..3).await, Err(DataRefusal::InDoubt), "the second one still is");
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_old_outcomes_go_unless_somebody_may_ask_for_them_and_then_nothing_is_called_aborted() {
    let stage = Stage::new().await;
    let tenure = stage.instance().tenure().unwrap();
    let kept = TRANSACTION_OUTCOMES_KEPT as u64;
    let id = |number: u64| TransactionId::new(number, 0);
    // One of the oldest has a participant that cannot be asked whether it has finished.
    let decided = |number: u64| Decided {
        prepared: if number == 5 { vec![(home().partition, Epoch(1))] } else { vec![] },
    };
    let rows = (1..=kept + 1_000).map(|n| (DECIDED, key_of(id(n)), Some(decided(n).to_row().to_vec())));
    stage.leaf.store.apply(PARTITION, Lsn(1), rows, &[]).unwrap();
    stage.leaf.prune(&tenure, &Catalog::default()).await.unwrap();
    let known = [1, 5, 1_000, 1_001, kept + 1_000, kept + 1_001].map(|n| tenure.knowledge(id(n)).unwrap());
    let (forgotten, committed, nothing) = (Knowledge::Forgotten, Knowledge::Committed, Knowledge::Nothing);
    assert_eq!(known, [forgotten, committed, forgotten, committed, committed, nothing]);
    // A coordinator that asks again for one that was forgotten is not told that it was aborted.
    let place = Place { epoch: Epoch(1), number: 77 };
    let commit = |n| Request::Commit { transaction: id(n), place, prepared: vec![] };
    assert_eq!(stage.end(commit(7)).await, Answer::Forgotten);
    assert_eq!(stage.end(commit(kept + 1_001)).await, Answer::Aborted);
    assert_eq!(stage.end(Request::Inquire { transaction: id(7), place }).await, Answer::Aborted);
    // Nothing is left to do, and the next look finds that at once.
    stage.leaf.prune(&tenure, &Catalog::default()).await.unwrap();
    assert_eq!(tenure.knowledge(id(1_001)), Ok(Knowledge::Committed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_to_hand_over_takes_no_write_and_goes_on_by_itself() {
    let stage = Stage::new().await;
    let request =
        DrainRequest { partition: PARTITION, epoch: Epoch(1), to: THERE, drain_ms: 300, hold_ms: 300 };
    let refused = stage.leaf.drain(&request).await;
    assert!(refused.is_err_and(|why| why.contains("not in sync")), "it has no replica");

    // The replica acknowledges nothing: what is under way does not end.
    stage.see(2, HERE, &[(THERE, SyncState::Sync)]).await;
    let leaf = Arc::clone(&stage.leaf);
    let draining = tokio::spawn(async move { leaf.drain(&request).await });
    let turned_away = async {
        for key in 1..=u8::MAX {
            let write = timeout(Duration::from_millis(20), stage.insert(key.into(), vec![row(key, 1)]));
            if let Ok(outcome) = write.await {
                return outcome;
            }
        }
        Ok(0)
    };
    assert_eq!(timeout(LONG, turned_away).await.expect("it is soon"), Err(DataRefusal::HandingOver));
    let ended = draining.await.unwrap();
    assert!(ended.as_ref().is_err_and(|why| why.contains("in time")), "{ended:?}");

    // Nobody else was named, so it goes on.
    stage.see(3, HERE, &[]).await;
    assert_eq!(stage.insert(1000, vec![row(0, 1)]).await, Ok(1));
    assert_eq!(stage.leaf.instance(PARTITION).unwrap().tenure().map(|t| t.epoch()), Some(Epoch(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_to_hand_over_waits_for_transactions_and_begins_none() {
    let stage = Stage::new().await;
    let request =
        DrainRequest { partition: PARTITION, epoch: Epoch(1), to: THERE, drain_ms: 200, hold_ms: 200 };
    let place = stage.put(TRANSACTION, 1, &[1]).await.unwrap();
    let leaf = Arc::clone(&stage.leaf);
    let draining = tokio::spawn(async move { leaf.drain(&request).await });
    let turned_away = async {
        for number in 10..u32::MAX {
            let other = TransactionId::new(7, u64::from(number));
            stage.put(other, 1, &[9]).await?;
            stage.end(Request::Finish { transaction: other, commit: false }).await;
        }
        Ok(place)
    };
    assert_eq!(timeout(LONG, turned_away).await.expect("it is soon"), Err(DataRefusal::HandingOver));
    assert_eq!(stage.put(TRANSACTION, 2, &[2]).await, Ok(place), "what is open goes on");
    let ended = draining.await.unwrap();
    assert!(ended.as_ref().is_err_and(|why| why.contains("1 transactions are open")), "{ended:?}");
    assert!(stage.put(OTHER, 1, &[3]).await.is_ok(), "nothing came of it");
    let commit = Request::Commit { transaction: TRANSACTION, place, prepared: vec![] };
    assert_eq!(stage.end(commit).await, Answer::Committed);
}
