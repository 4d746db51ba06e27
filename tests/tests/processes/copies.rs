//! Whole partitions on their way: to a new replica, into a backup, and back from one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use baton_tests::bucket::{Bucket, SECRET};
use baton_tests::client::refused_with;
use baton_tests::wait::{wait_until, wait_while_not};
use baton_tests::writers::DATABASE;
use baton_tests::{Client, Cluster, ClusterSpec, Moment};

use crate::stage::{HEAL_BOUND, alone, events_since, leaf_with_primaries, taken_over};

/// Text that does not compress well, another one for each number.
fn noise(number: u64, bytes: usize) -> String {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let digits = (0..bytes).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + (state % 75) as u8)
    });
    digits.filter(|c| !"'\\\"".contains(*c)).collect()
}

async fn fill(client: &mut Client, table: &str, rows: u64, bytes: usize) -> Result<()> {
    for batch in 0..rows.div_ceil(1000) {
        let values =
            (batch * 1000..rows.min((batch + 1) * 1000)).map(|n| format!("({n}, '{}')", noise(n, bytes)));
        client.run(&format!("INSERT INTO {table} VALUES {}", values.collect::<Vec<_>>().join(", "))).await?;
    }
    Ok(())
}

/// The bytes of all files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

fn logs(cluster: &Cluster) -> String {
    let logs = fs::read_dir(cluster.toolbox().state_dir().join("logs")).into_iter().flatten().flatten();
    logs.map(|log| fs::read_to_string(log.path()).unwrap_or_default()).collect()
}

/// The number after `name=` in the last line that has these words.
fn number_in(logs: &str, words: &str, name: &str) -> Option<u64> {
    let line = logs.lines().rfind(|line| line.contains(words))?;
    let (_, rest) = line.split_once(&format!("{name}="))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn a_copy_goes_on_where_it_broke_off_when_either_side_restarts() {
    alone(ClusterSpec::new(1, 2), async |cluster| {
        cluster.create_database("PARTITIONS 1").await?;
        let mut client = cluster.conn("a1").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY, text TEXT)")).await?;
        fill(&mut client, &format!("{DATABASE}.t"), 30_000, 600).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let primary = leaf_with_primaries(cluster).await?;
        let replica =
            cluster.leaves().into_iter().find(|leaf| *leaf != primary).context("there is one leaf")?;
        client.run("SET GLOBAL provisioning_bytes_per_second = 3000000").await?;
        cluster.kill9(&replica).await?;
        cluster.wipe(&replica)?;
        cluster.restart(&replica).await?;
        let received = cluster.node(&replica)?.datadir.join("copies/received");
        let more_than = async |bytes: u64| {
            wait_while_not(&format!("{bytes} bytes of the copy are here"), HEAL_BOUND, async || {
                Ok(bytes_below(&received) > bytes)
            })
            .await
        };

        more_than(4 << 20).await?;
        cluster.kill9(&replica).await?;
        let kept = bytes_below(&received);
        cluster.restart(&replica).await?;
        more_than(kept + (1 << 20)).await?;
        cluster.kill9(&primary).await?;
        cluster.restart(&primary).await?;
        client = cluster.conn("a1").await?;
        client.run(&format!("INSERT INTO {DATABASE}.t VALUES (-1, 'meanwhile')")).await?;
        more_than(kept + (2 << 20)).await?;
        client.run("SET GLOBAL provisioning_bytes_per_second = 0").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;

        let logs = logs(cluster);
        let made = logs.matches("made a copy for a replica").count();
        let all = number_in(&logs, "fetched a copy", "bytes").context("no word of a fetched copy")?;
        let last = number_in(&logs, "fetched a copy", "received").context("no word of a fetched copy")?;
        println!("    {made} copy made; {last} of {all} bytes were received last");
        ensure!(made == 1, "{made} copies were made");
        ensure!(last + kept < all, "of {all} bytes, {last} were received after {kept} were there");

        cluster.kill9(&primary).await?;
        taken_over(cluster, &primary, Duration::from_secs(15)).await?;
        let count = client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.t")).await?;
        ensure!(count == "30001", "{count} of 30001 rows are there");
        let texts =
            client.rows(&format!("SELECT text FROM {DATABASE}.t WHERE id IN (7, 29999) ORDER BY id")).await?;
        let texts: Vec<_> = texts.iter().filter_map(|row| row.first()).collect();
        ensure!(texts == [noise(7, 600), noise(29_999, 600)], "other rows than were written");
        Ok(())
    });
}

#[test]
fn a_copy_that_its_disk_damaged_is_not_taken_and_made_anew() {
    alone(ClusterSpec::new(1, 2), async |cluster| {
        cluster.create_database("PARTITIONS 1").await?;
        let mut client = cluster.conn("a1").await?;
        client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY, text TEXT)")).await?;
        fill(&mut client, &format!("{DATABASE}.t"), 15_000, 600).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let primary = leaf_with_primaries(cluster).await?;
        let replica =
            cluster.leaves().into_iter().find(|leaf| *leaf != primary).context("there is one leaf")?;
        client.run("SET GLOBAL provisioning_bytes_per_second = 2000000").await?;
        cluster.kill9(&replica).await?;
        cluster.wipe(&replica)?;
        cluster.restart(&replica).await?;
        let made = cluster.node(&primary)?.datadir.join("copies/made");
        let received = cluster.node(&replica)?.datadir.join("copies/received");
        wait_while_not("a part of the copy is here", HEAL_BOUND, async || {
            Ok(bytes_below(&received) > 1 << 20)
        })
        .await?;
        let file = files_of(&made).into_iter().find(|path| path.extension().is_some_and(|e| e == "sst"));
        let file = file.context("no file of a made copy")?;
        let mut bytes = fs::read(&file)?;
        let last = bytes.len() - 1000;
        bytes[last] ^= 1;
        fs::write(&file, bytes)?;
        client.run("SET GLOBAL provisioning_bytes_per_second = 0").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let logs = logs(cluster);
        ensure!(logs.contains("turned out damaged"), "nobody noticed");
        ensure!(logs.matches("made a copy for a replica").count() == 2, "it was not made anew");
        cluster.kill9(&primary).await?;
        taken_over(cluster, &primary, Duration::from_secs(15)).await?;
        let count = client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.t")).await?;
        ensure!(count == "15000", "{count} of 15000 rows are there");
        Ok(())
    });
}

const TABLES: &[&str] = &[
    "CREATE TABLE sharded (id BIGINT PRIMARY KEY, text TEXT)",
    "CREATE TABLE keyless (a BIGINT, b VARCHAR(20))",
    "CREATE TABLE numbered (id BIGINT AUTO_INCREMENT PRIMARY KEY, v BIGINT)",
    "CREATE REFERENCE TABLE reference (id BIGINT PRIMARY KEY, name VARCHAR(50))",
    "CREATE TABLE empty (id BIGINT PRIMARY KEY)",
];

/// Makes every kind of table, with rows.
async fn make_tables(client: &mut Client) -> Result<()> {
    client.run(&format!("USE {DATABASE}")).await?;
    for create in TABLES {
        client.run(create).await?;
    }
    fill(client, "sharded", 3000, 300).await?;
    for n in 0..20 {
        client.run(&format!("INSERT INTO keyless VALUES ({n}, 'x'), ({n}, 'x'), ({n}, NULL)")).await?;
        client.run(&format!("INSERT INTO numbered (v) VALUES ({n}), ({n})")).await?;
        client.run(&format!("INSERT INTO reference VALUES ({n}, 'name {n}')")).await?;
    }
    Ok(())
}

/// All rows of all tables of a database, in order.
async fn all_rows(client: &mut Client, database: &str) -> Result<Vec<Vec<String>>> {
    let orders = [
        "sharded ORDER BY id",
        "keyless ORDER BY a, b",
        "numbered ORDER BY id",
        "reference ORDER BY id",
        "empty",
    ];
    let mut all = Vec::new();
    for order in orders {
        let rows = client.rows(&format!("SELECT * FROM {database}.{order}")).await?;
        all.push(rows.iter().map(|row| row.texts().join("|")).collect());
    }
    Ok(all)
}

async fn databases(client: &mut Client) -> Result<BTreeSet<String>> {
    Ok(client.rows("SHOW DATABASES").await?.iter().filter_map(|row| row.first()).collect())
}

/// The files of a backup in a folder.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files_of(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn a_database_comes_back_from_a_backup_as_it_was_and_cut_into_another_number_of_partitions() {
    alone(ClusterSpec::new(2, 2), async |cluster| {
        cluster.create_database("PARTITIONS 4").await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        let began = Moment::now();
        // The second aggregator, which has the master aggregator do it.
        let mut client = cluster.conn("a2").await?;
        make_tables(&mut client).await?;
        client.run("INSERT INTO numbered (v) VALUES (1)").await?;
        client.run("DELETE FROM numbered WHERE id > 40").await?;
        let before = all_rows(&mut client, DATABASE).await?;
        let place = cluster.folder().join("backups");
        let place = place.to_str().context("a path in UTF-8")?;
        let bucket = Bucket::start();

        client.run(&format!("SNAPSHOT DATABASE {DATABASE}")).await?;
        client.run(&format!("_SYNC_SNAPSHOT {DATABASE}")).await?;
        client.run(&format!("BACKUP DATABASE {DATABASE} TO '{place}'")).await?;
        client.run(&format!("BACKUP DATABASE {DATABASE} AS copy TO {}", bucket.clause("deep/er"))).await?;
        let again = refused_with(1706, client.run(&format!("BACKUP {DATABASE} TO '{place}'")).await)?;
        ensure!(again.contains("already"), "{again}");
        let internal = client.run(&format!("BACKUP DATABASE information_schema TO '{place}'")).await;
        refused_with(2625, internal)?;

        // It cannot come back beside itself, but under another name, and anew.
        refused_with(1007, client.run(&format!("RESTORE DATABASE {DATABASE} FROM '{place}'")).await)?;
        client.run(&format!("RESTORE DATABASE {DATABASE} AS other FROM '{place}'")).await?;
        ensure!(all_rows(&mut client, "other").await? == before, "other rows under another name");
        client.run(&format!("DROP DATABASE {DATABASE}")).await?;
        client.run(&format!("RESTORE DATABASE {DATABASE} FROM '{place}'")).await?;
        cluster.all_in_sync(HEAL_BOUND).await?;
        ensure!(all_rows(&mut client, DATABASE).await? == before, "other rows after the restore");
        for count in [1, 3, 7] {
            let from = bucket.clause("deep/er");
            client
                .run(&format!("RESTORE DATABASE copy AS cut_{count} FROM {from} PARTITIONS {count}"))
                .await?;
            let rows = all_rows(&mut client, &format!("cut_{count}")).await?;
            ensure!(rows == before, "other rows in {count} partitions");
            let parts = client.instances(&format!("cut_{count}")).await?;
            let ordinals: BTreeSet<u64> = parts.iter().map(|instance| instance.ordinal).collect();
            ensure!(ordinals.len() == count, "{ordinals:?}");
            // Rows are found by their keys, so they are where they belong.
            let row = client.rows(&format!("SELECT text FROM cut_{count}.sharded WHERE id = 1234")).await?;
            ensure!(
                row.len() == 1 && row[0].first() == Some(noise(1234, 300)),
                "a row is not where it belongs"
            );
        }
        // New rows get numbers that none ever had, and everything can be written.
        client.run(&format!("INSERT INTO {DATABASE}.numbered (v) VALUES (100)")).await?;
        let highest = client.value(&format!("SELECT MAX(id) FROM {DATABASE}.numbered")).await?;
        ensure!(highest.parse::<u64>()? > 41, "{highest} is the next number");
        client.run(&format!("INSERT INTO {DATABASE}.reference VALUES (99, 'new')")).await?;

        // Nobody has told the secret.
        let events = events_since(cluster, began).await?;
        let kinds: BTreeSet<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        ensure!(kinds.contains("BACKUP_DB") && kinds.contains("RESTORE_DB"), "{kinds:?}");
        ensure!(events.iter().all(|event| !event.details.contains(SECRET)));
        ensure!(!logs(cluster).contains(SECRET), "the logs tell the secret");
        ensure!(bucket.refused() == 0, "{} requests were not signed", bucket.refused());
        for (name, object) in bucket.objects() {
            ensure!(!String::from_utf8_lossy(&object).contains(SECRET), "{name} tells the secret");
        }
        // A leaf that takes over has what was restored.
        let victim = leaf_with_primaries(cluster).await?;
        cluster.kill9(&victim).await?;
        taken_over(cluster, &victim, Duration::from_secs(15)).await?;
        let count = client.value(&format!("SELECT COUNT(*) FROM {DATABASE}.sharded")).await?;
        ensure!(count == "3000", "{count} of 3000 rows after a failover");
        Ok(())
    });
}

#[test]
fn half_a_backup_is_none_and_a_restore_that_fails_leaves_nothing() {
    alone(ClusterSpec::new(1, 2), async |cluster| {
        cluster.create_database("PARTITIONS 3").await?;
        let mut client = cluster.conn("a1").await?;
        make_tables(&mut client).await?;
        let place = cluster.folder().join("backups");
        let path = place.to_str().context("a path in UTF-8")?.to_owned();
        let restore = format!("RESTORE DATABASE {DATABASE} AS again FROM '{path}'");
        refused_with(2626, client.run(&restore).await)?;
        client.run(&format!("BACKUP DATABASE {DATABASE} TO '{path}'")).await?;
        let folder = place.join(format!("{DATABASE}.backup"));
        let files = files_of(&folder);
        let manifest = folder.join("manifest.json");
        ensure!(files.contains(&manifest) && files.len() > 4, "{files:?}");
        let seen = databases(&mut client).await?;
        let nothing_is_left = async |client: &mut Client, what: &str| {
            ensure!(databases(client).await? == seen, "{what}: another database is seen");
            let status = client.rows("SHOW CLUSTER STATUS").await?;
            let left = status.iter().any(|row| row.texts().iter().any(|text| text.starts_with("again")));
            ensure!(!left, "{what}: there is something left of it");
            Ok(())
        };

        for file in files.iter().filter(|file| **file != manifest) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let good = fs::read(file)?;
            fs::remove_file(file)?;
            let reference = name.starts_with("reference");
            let missing = refused_with(if reference { 2626 } else { 1832 }, client.run(&restore).await)?;
            println!("    without {name}: {missing}");
            nothing_is_left(&mut client, &name).await?;
            let mut bad = good.clone();
            let middle = bad.len() / 2;
            bad[middle] ^= 1;
            fs::write(file, &bad)?;
            let damaged = refused_with(2626, client.run(&restore).await)?;
            ensure!(damaged.contains("damaged") && damaged.contains(&name), "{damaged}");
            nothing_is_left(&mut client, &name).await?;
            fs::write(file, &good)?;
        }
        let good = fs::read(&manifest)?;
        fs::write(&manifest, &good[..good.len() / 2])?;
        refused_with(2626, client.run(&restore).await)?;
        fs::remove_file(&manifest)?;
        refused_with(2626, client.run(&restore).await)?;
        nothing_is_left(&mut client, "without the manifest").await?;
        fs::write(&manifest, &good)?;

        // A backup that cannot be written to its end leaves no manifest, and what it wrote goes.
        let bucket = Bucket::start();
        bucket.take_only(2);
        let failed = client
            .run_within(
                HEAL_BOUND,
                &format!("BACKUP DATABASE {DATABASE} TO {} TIMEOUT 3000", bucket.clause("x")),
            )
            .await;
        println!("    {}", failed.err().context("a bucket that fails has a backup")?);
        ensure!(bucket.written() == 2, "{} objects were written", bucket.written());
        ensure!(bucket.objects().is_empty(), "{:?}", bucket.objects().keys());

        // Whole again, it comes back.
        client.run(&restore).await?;
        ensure!(all_rows(&mut client, "again").await? == all_rows(&mut client, DATABASE).await?);
        Ok(())
    });
}

#[test]
fn a_restore_whose_master_is_lost_is_done_by_the_next_one_or_leaves_nothing() {
    alone(ClusterSpec::new(3, 2).policy("swift"), async |cluster| {
        cluster.create_database("PARTITIONS 2").await?;
        let master = cluster.master(HEAL_BOUND).await?;
        let other =
            cluster.aggregators().into_iter().find(|name| *name != master).context("one aggregator")?;
        let mut client = cluster.conn(&other).await?;
        client.run(&format!("CREATE TABLE {DATABASE}.t (id BIGINT PRIMARY KEY, text TEXT)")).await?;
        fill(&mut client, &format!("{DATABASE}.t"), 40_000, 600).await?;
        let path = cluster.folder().join("backups");
        let path = path.to_str().context("a path in UTF-8")?.to_owned();
        client.run(&format!("BACKUP DATABASE {DATABASE} TO '{path}'")).await?;

        let restoring = cluster.conn(&other).await?;
        let statement = format!("RESTORE DATABASE {DATABASE} AS again FROM '{path}'");
        let restore = tokio::spawn(async move {
            let mut restoring = restoring;
            restoring.run_within(2 * HEAL_BOUND, &statement).await
        });
        // It is under way: its partitions are there, and nobody sees the database.
        let begun = wait_until("the restore is under way", HEAL_BOUND, async || {
            let rows = client.rows("SHOW CLUSTER STATUS").await?;
            Ok(rows.iter().any(|row| row.texts().iter().any(|text| text.starts_with("again"))).then_some(()))
        });
        begun.await?;
        cluster.kill9(&master).await?;
        match restore.await? {
            Ok(_) => println!("    another master aggregator has done it"),
            Err(fault) => return Err(fault).context("the restore did not go through the election"),
        }
        let count = client.value("SELECT COUNT(*) FROM again.t").await?;
        ensure!(count == "40000", "{count} of 40000 rows came back");
        // Of the attempt of the lost one nothing is left.
        let rows = client.rows("SHOW CLUSTER STATUS").await?;
        let primaries = rows.iter().filter(|row| {
            let texts = row.texts();
            texts.iter().any(|text| text.starts_with("again")) && texts.iter().any(|text| text == "Master")
        });
        let primaries = primaries.count();
        ensure!(primaries == 2, "{primaries} primaries instead of 2");
        Ok(())
    });
}
