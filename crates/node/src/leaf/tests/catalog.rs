//! What a leaf removes by what the catalog says, and what it keeps.

use super::*;

fn create_table(name: &str) -> Command {
    let schema = TableSchema { name: name.into(), ..schema() };
    Command::CreateTable { database: "one".into(), schema, if_not_exists: false }
}

fn drop_table(name: &str) -> Command {
    Command::DropTable { database: "one".into(), table: name.into(), if_exists: false }
}

/// Checklist 7: what the catalog does not know is no reason to drop it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_while_the_leaf_was_down_goes_and_what_is_newer_than_its_catalog_stays() {
    let stage = Stage::new().await;
    let there = |database| PartitionId { database: DatabaseId(database), ordinal: 0 };
    for database in 1..=4 {
        for table in 1..=4 {
            let row = (TableId(table), vec![1], Some(vec![1]));
            stage.leaf.store.apply(there(database), Lsn(1), [row], &[]).unwrap();
        }
    }
    // Database 2 and table 2 were dropped; database 4 and table 4 are in no catalog that this leaf has seen.
    let now = catalog([
        create_database("one"),
        create_database("two"),
        create_database("three"),
        create_table("one"),
        create_table("two"),
        create_table("three"),
        drop_table("two"),
        Command::DropDatabase { name: "two".into(), if_exists: false },
    ]);
    let mut seen = Seen::default();
    stage.leaf.remove_what_was_dropped(&now, &mut seen).unwrap();
    assert_eq!(stage.leaf.store.partitions().unwrap(), [there(1), there(3), there(4)]);
    assert_eq!(stage.leaf.store.tables(there(1)).unwrap(), [1, 3, 4].map(TableId));
    assert_eq!(stage.leaf.store.tables(there(4)).unwrap(), [1, 2, 3, 4].map(TableId));

    // The newest ones are dropped while it runs.
    let later =
        catalog([create_database("one"), create_database("two"), create_table("one"), create_table("two")]);
    stage.leaf.remove_what_was_dropped(&later, &mut seen).unwrap();
    assert_eq!(stage.leaf.store.partitions().unwrap(), [there(1), there(4)]);
    assert_eq!(stage.leaf.store.tables(there(1)).unwrap(), [1, 4].map(TableId));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_goes_only_while_its_partition_is_served_elsewhere() {
    let stage = Stage::new().await;
    let orphaned = PartitionId { database: DatabaseId(2), ordinal: 0 };
    stage.leaf.store.apply(orphaned, Lsn(7), [(TABLE, vec![1], Some(vec![1]))], &[]).unwrap();
    let elsewhere = Command::CreateDatabase {
        name: "two".into(),
        if_not_exists: false,
        replication: ReplicationMode::Sync,
        durability: Durability::Sync,
        placements: vec![InstancePlacement { primary: THERE, replicas: vec![] }],
    };
    let first = [Command::AddNode(new_node(3, NodeRole::Leaf)), create_database("one"), elsewhere];
    let offline =
        Command::SetNodeOffline { node: THERE, incarnation: Incarnation(1), reason: "silent".into() };
    let online = Command::SetNodeOnline {
        node: THERE,
        incarnation: Incarnation(1),
        store: StoreId(1),
        lost_tail: false,
    };

    // Its primary is offline: this may be the last copy (S7).
    let unserved = catalog(first.clone().into_iter().chain([offline.clone()]));
    stage.leaf.context.publish_catalog(Arc::clone(&unserved));
    let told = stage.leaf.status();
    let told: Vec<_> = told.iter().filter(|one| one.role == "orphan").collect();
    assert_eq!(told.iter().map(|one| (one.partition, one.last)).collect::<Vec<_>>(), [(orphaned, Lsn(7))]);
    assert!(stage.leaf.drop_orphan(orphaned, unserved.index()).await.is_err());

    let served = catalog(first.into_iter().chain([offline, online]));
    stage.leaf.context.publish_catalog(Arc::clone(&served));
    assert!(
        stage.leaf.drop_orphan(orphaned, served.index().next()).await.is_err(),
        "a newer catalog says so"
    );
    assert!(stage.leaf.drop_orphan(PARTITION, served.index()).await.is_err(), "it is this leaf's own");
    assert!(stage.leaf.store.partitions().unwrap().contains(&orphaned));
    assert_eq!(stage.leaf.drop_orphan(orphaned, served.index()).await, Ok(()));
    assert!(!stage.leaf.store.partitions().unwrap().contains(&orphaned));
    assert_eq!(stage.leaf.drop_orphan(orphaned, served.index()).await, Ok(()), "a second time");
}
