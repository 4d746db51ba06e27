use clap::{Parser, Subcommand};
#[derive(Parser)]
struct Cli { #[command(subcommand)] c: C }
#[derive(Subcommand)]
enum C { Policy(baton_policy_tool::PolicyArgs), Sim(baton_policy_tool::SimArgs) }
fn main() -> std::process::ExitCode { match Cli::parse().c { C::Policy(a) => baton_policy_tool::run(a), C::Sim(a) => baton_policy_tool::sim(&a) } }
