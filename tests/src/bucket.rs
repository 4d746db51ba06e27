//! A bucket that speaks enough of S3 for a backup: put, get, head, list, delete, and "only if there is none".
//!
//! In memory, on a port of its own. It takes no request that is not signed with its key, and can be told to fail.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The key that requests must be signed with.
pub const KEY_ID: &str = "AKIATEST";
/// Its secret, which is never sent.
pub const SECRET: &str = "hush-hush-hush";
/// The name of the bucket.
pub const BUCKET: &str = "backups";

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A running bucket; it goes on until the process ends.
#[derive(Clone, Debug)]
pub struct Bucket {
    address: SocketAddr,
    objects: Objects,
    failing: Arc<AtomicU32>,
    losing: Arc<AtomicU32>,
    room: Arc<AtomicU32>,
    written: Arc<AtomicU32>,
    refused: Arc<AtomicU32>,
}

/// Whether there was one left.
fn take_one(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Bucket {
    /// Starts an empty one.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let bucket = Self {
            address: listener.local_addr().expect("it is bound"),
            objects: Objects::default(),
            failing: Arc::default(),
            losing: Arc::default(),
            room: Arc::new(AtomicU32::new(u32::MAX)),
            written: Arc::default(),
            refused: Arc::default(),
        };
        let serving = bucket.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || drop(serving.serve(&stream)));
            }
        });
        bucket
    }

    /// What a statement says of it: `S3 'bucket/path' CONFIG '…' CREDENTIALS '…'`.
    #[must_use]
    pub fn clause(&self, path: &str) -> String {
        format!("S3 '{BUCKET}/{path}' CONFIG '{}' CREDENTIALS '{}'", self.config(), credentials())
    }

    /// The JSON after CONFIG.
    #[must_use]
    pub fn config(&self) -> String {
        format!(r#"{{"region": "eu-test-1", "endpoint_url": "http://{}"}}"#, self.address)
    }

    /// What is in it, by name.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets something happen to what is in it.
    pub fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) {
        change(&mut self.objects.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// So many of the next requests are answered with 503.
    pub fn fail(&self, requests: u32) {
        self.failing.store(requests, Ordering::SeqCst);
    }

    /// So many of the next requests are done, and their answers are lost.
    pub fn lose_answers(&self, requests: u32) {
        self.losing.store(requests, Ordering::SeqCst);
    }

    /// So many objects more are taken; then it answers 503 to whoever brings one.
    pub fn take_only(&self, objects: u32) {
        self.room.store(objects, Ordering::SeqCst);
    }

    /// How many objects were ever brought.
    #[must_use]
    pub fn written(&self) -> u32 {
        self.written.load(Ordering::SeqCst)
    }

    /// How many requests were not signed with its key.
    #[must_use]
    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::SeqCst)
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let mut words = line.split_whitespace();
            let (method, target) =
                (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
            let mut headers = BTreeMap::new();
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                match header.trim_end().split_once(':') {
                    Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
                    None => break,
                };
            }
            let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let (status, headers, answer) = self.answer(&method, &target, &headers, body);
            if take_one(&self.losing) {
                return Ok(());
            }
            let mut out = stream;
            write!(out, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", answer.len())?;
            if method != "HEAD" {
                out.write_all(&answer)?;
            }
        }
    }

    fn answer(
        &self,
        method: &str,
        target: &str,
        headers: &BTreeMap<String, String>,
        body: Vec<u8>,
    ) -> (&'static str, &'static str, Vec<u8>) {
        const OBJECT: &str = "etag: \"1\"\r\nlast-modified: Thu, 26 Nov 2026 08:00:00 GMT\r\n";
        let signed = headers.get("authorization").is_some_and(|text| {
            text.starts_with("AWS4-HMAC-SHA256") && text.contains(KEY_ID) && !text.contains(SECRET)
        });
        if !signed {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return ("403 Forbidden", "", Vec::new());
        }
        if take_one(&self.failing) {
            return ("503 Slow Down", "", Vec::new());
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let name = path.trim_start_matches('/').strip_prefix(BUCKET).unwrap_or_default();
        let name = unescaped(name.trim_start_matches('/'));
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        match method {
            "PUT"
                if headers.get("if-none-match").is_some_and(|tag| tag == "*")
                    && objects.contains_key(&name) =>
            {
                ("412 Precondition Failed", "", Vec::new())
            }
            "PUT" if !take_one(&self.room) => ("503 Slow Down", "", Vec::new()),
            "PUT" => {
                self.written.fetch_add(1, Ordering::SeqCst);
                objects.insert(name, body);
                ("200 OK", "etag: \"1\"\r\n", Vec::new())
            }
            "GET" if query.contains("list-type=2") => {
                let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix="));
                let prefix = unescaped(prefix.unwrap_or_default());
                let mut listed = String::from("<ListBucketResult>");
                for (name, object) in objects.iter().filter(|(name, _)| name.starts_with(&prefix)) {
                    listed.push_str(&format!(
                        "<Contents><Key>{name}</Key><Size>{}</Size><ETag>\"1\"</ETag>\
                         <LastModified>2026-11-26T08:00:00.000Z</LastModified></Contents>",
                        object.len()
                    ));
                }
                ("200 OK", "", format!("{listed}</ListBucketResult>").into_bytes())
            }
            "GET" | "HEAD" => match objects.get(&name) {
                Some(object) => ("200 OK", OBJECT, object.clone()),
                None => ("404 Not Found", "", Vec::new()),
            },
            "DELETE" => {
                objects.remove(&name);
                ("204 No Content", "", Vec::new())
            }
            _ => ("405 Method Not Allowed", "", Vec::new()),
        }
    }
}

/// The JSON after CREDENTIALS.
#[must_use]
pub fn credentials() -> String {
    format!(r#"{{"aws_access_key_id": "{KEY_ID}", "aws_secret_access_key": "{SECRET}"}}"#)
}

/// `%2F` and the like as what they stand for.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                plain.extend(part.as_bytes().iter().skip(2));
            }
            None => plain.extend(part.as_bytes()),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}
