//! The store of a leaf's partitions, and whether it is the one that the cluster counts on.
//!
//! * S4: the life of the data directory is written in two places, its identity and the store itself. If the store has
//!   none, what the cluster believes to be on this disk is not there any more, and the leaf must say so: it comes back
//!   with another life, as if its whole disk had been replaced. Whoever decides about its instances does so in the
//!   catalog. If the store has another one, it is another leaf's, and nothing of it is touched.

use baton_model::StoreId;
use baton_storage::DataStore;
use tracing::warn;

use super::LeafError;
use crate::identity::{DataDir, Identity};

/// Opens, or creates, the store. If it was lost, it and the identity get a fresh life, durably, before anybody is told of
/// the old one.
///
/// # Errors
/// If the disk cannot be read or written, or has another leaf's data.
pub fn open_data(dir: &DataDir, identity: &mut Identity, fresh: StoreId) -> Result<DataStore, LeafError> {
    let store = DataStore::open(&dir.path().join("data"))?;
    let found = store.store_id()?;
    match found {
        Some(found) if found == identity.store => return Ok(store),
        Some(_) => return Err(LeafError::OthersData(dir.path().join("data"))),
        None => {}
    }
    // A node that never was in a cluster has promised nothing to anybody; and a store is stamped before its first row.
    if identity.cluster.is_some() && store.partitions()?.is_empty() {
        warn!(expected = %identity.store, "the data of this leaf was lost; it comes back with an empty disk");
        identity.store = fresh;
        // First here: after a crash in between the store still has none.
        dir.write(identity)?;
    }
    store.set_store_id(identity.store)?;
    Ok(store)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use baton_model::{ClusterId, NodeId, NodeRole};

    use super::*;

    const FIRST: StoreId = StoreId(1);
    const SECOND: StoreId = StoreId(2);
    const THIRD: StoreId = StoreId(3);

    /// The life that a start with this fresh one comes to, and the one that a start after it would find.
    fn start(path: &std::path::Path, fresh: StoreId) -> StoreId {
        let (dir, mut identity) = DataDir::open(path, NodeRole::Leaf, fresh).unwrap();
        let store = open_data(&dir, &mut identity, fresh).unwrap();
        assert_eq!(store.store_id().unwrap(), Some(identity.store));
        identity.store
    }

    fn join(path: &std::path::Path) {
        let (dir, identity) = DataDir::open(path, NodeRole::Leaf, SECOND).unwrap();
        dir.write(&Identity { cluster: Some(ClusterId(7)), node: NodeId(2), ..identity }).unwrap();
    }

    #[test]
    fn a_leaf_that_lost_its_data_alone_comes_back_with_another_life() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        assert_eq!(start(&path, FIRST), FIRST);
        join(&path);
        assert_eq!(start(&path, SECOND), FIRST, "nothing is lost");
        fs::remove_dir_all(path.join("data")).unwrap();
        assert_eq!(start(&path, SECOND), SECOND);
        assert_eq!(start(&path, THIRD), SECOND, "it was lost once");
    }

    #[test]
    fn the_data_of_another_leaf_is_not_taken_for_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        assert_eq!(start(&here, FIRST), FIRST);
        assert_eq!(start(&there, SECOND), SECOND);
        join(&here);
        fs::remove_dir_all(here.join("data")).unwrap();
        fs::rename(there.join("data"), here.join("data")).unwrap();
        let (dir, mut identity) = DataDir::open(&here, NodeRole::Leaf, THIRD).unwrap();
        assert!(matches!(open_data(&dir, &mut identity, THIRD), Err(LeafError::OthersData(_))));
        assert_eq!(identity.store, FIRST, "nothing was changed");
        let store = DataStore::open(&here.join("data")).unwrap();
        assert_eq!(store.store_id().unwrap(), Some(SECOND));
    }

    #[test]
    fn a_lost_mirror_of_the_catalog_is_no_lost_data() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        assert_eq!(start(&path, FIRST), FIRST);
        join(&path);
        drop(baton_storage::CatalogStore::open(&path.join("catalog")).unwrap());
        fs::remove_dir_all(path.join("catalog")).unwrap();
        assert_eq!(start(&path, SECOND), FIRST);
    }

    #[test]
    fn a_leaf_of_no_cluster_has_nothing_to_lose() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        assert_eq!(start(&path, FIRST), FIRST);
        fs::remove_dir_all(path.join("data")).unwrap();
        assert_eq!(start(&path, SECOND), FIRST);
    }
}
