//! The engine that compiles and runs policies, and the clock that stops them.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine};

use crate::bindings::log;
use crate::sandbox::{Sandbox, TICK_MS};
use crate::{HostError, LoadError, Module};

/// Bytes of WASM stack. A thread that calls a policy needs this much and its own.
const STACK_BYTES_MAX: usize = 256 << 10;
/// Bytes that a memory can grow by before it has to be moved: what a decision over a thousand nodes asks for. It is taken
/// from the heap and not touched, so that others do not pay for it.
const GROWTH_BYTES: u64 = 1 << 20;

/// Compiles policies. Cheap to clone; one for a process is enough.
#[derive(Clone)]
pub struct PolicyHost {
    engine: Engine,
    linker: Arc<Linker<Sandbox>>,
}

impl std::fmt::Debug for PolicyHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PolicyHost")
    }
}

impl PolicyHost {
    /// Makes the engine, and starts the thread that bounds the time of calls. The thread ends with the last module.
    ///
    /// # Errors
    /// [`HostError`], on a machine where the engine cannot run or no thread can be started.
    pub fn new() -> Result<Self, HostError> {
        let failed = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = Engine::new(&config()).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |sandbox: &mut Sandbox| sandbox).map_err(failed)?;
        let ticking = engine.weak();
        thread::Builder::new().name("policy-clock".to_owned()).spawn(move || {
            while let Some(engine) = ticking.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(Duration::from_millis(TICK_MS));
            }
        })?;
        Ok(Self { engine, linker: Arc::new(linker) })
    }

    /// Compiles a component, after it has been checked that it wants nothing from the outside, and asks it what it is.
    /// Takes tens of milliseconds: not to be called where other work waits.
    ///
    /// # Errors
    /// [`LoadError`]: nothing that the bytes can be makes this panic, or last for ever.
    pub fn compile(&self, bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
        Module::load(&self.engine, &self.linker, bytes).map(Arc::new)
    }
}

/// What makes a call deterministic and bounded. Threads, garbage collection and async are not compiled in.
///
/// Memory is ordinary heap memory with explicit bounds checks, not a mapping of its own with guard pages: a fresh
/// instance then costs neither system calls nor page faults, which halves the time of a decision over 3 nodes.
fn config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES_MAX)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .signals_based_traps(false)
        .memory_init_cow(false)
        .memory_guard_size(0)
        .memory_reservation(0)
        .memory_reservation_for_growth(GROWTH_BYTES);
    config
}
