//! DataFusion as this process has it: one configuration, one pool of memory, one table of functions.

use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::prelude::SessionConfig;

use super::functions::functions;
use super::operators::MysqlOperators;
use super::types::MysqlTypes;
use crate::limits::QUERY_MEMORY_BYTES_MAX;

/// Threads that the operators of one query are spread over, at most.
const PARALLEL_MAX: usize = 8;

static ENGINE: LazyLock<SessionState> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut config = SessionConfig::new()
        .with_target_partitions(threads.min(PARALLEL_MAX))
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = None;
    // Nothing is spilled: a query that does not fit fails, as its limit says.
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(QUERY_MEMORY_BYTES_MAX)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
        .expect("a pool in memory needs nothing that could be missing");
    let mut planners = SessionStateDefaults::default_expr_planners();
    planners.insert(0, Arc::new(MysqlOperators));
    let mut scalar = SessionStateDefaults::default_scalar_functions();
    // Ours come last and win.
    scalar.extend(functions());
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(MysqlTypes)];
    rules.extend(Analyzer::new().rules);
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_expr_planners(planners)
        .with_analyzer_rules(rules)
        .with_scalar_functions(scalar)
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .build()
});

/// The engine, with the clock of a query that begins now.
pub(super) fn engine() -> SessionState {
    let mut state = ENGINE.clone();
    state.mark_start_execution();
    state
}

/// Whether there is a function of this name, in lower case.
pub(super) fn knows(name: &str) -> bool {
    ENGINE.scalar_functions().contains_key(name)
        || ENGINE.aggregate_functions().contains_key(name)
        || ENGINE.window_functions().contains_key(name)
}
