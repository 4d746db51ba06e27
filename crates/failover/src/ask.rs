//! How a decision point is asked: whoever carries the shell of a policy answers, in a node or in a simulated world.

use baton_policy::Question;

/// Asks the policy that is bound to a question.
pub trait Ask<Q: Question> {
    /// Decides. The answer is valid for the question and within the ceiling: whoever asks sees to it (S8).
    fn ask(&mut self, question: Q) -> Answer<Q::Verdict>;
}

/// A verdict, and who gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer<V> {
    /// What was decided.
    pub verdict: V,
    /// Who decided: the policy's name.
    pub policy: String,
}
