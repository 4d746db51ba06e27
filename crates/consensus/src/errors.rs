//! Why something could not be done, one type for each thing to do.

use baton_model::NodeId;
use baton_storage::StoreError;

/// The control group could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder is another member's.
    #[error("the control log belongs to node {found}, but this is node {wanted}")]
    OtherMember {
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        wanted: NodeId,
    },
    /// The figures contradict each other.
    #[error("the control group's settings contradict each other: {0}")]
    Config(String),
    /// The group could not be started, or not be founded.
    #[error("the control group cannot start: {0}")]
    Start(String),
    /// The group exists already.
    #[error("the control group is founded already")]
    AlreadyFounded,
}

/// A proposal has no outcome to tell.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// This member does not lead, or was cut off from the majority. Nothing was proposed.
    #[error("this aggregator does not lead the control group; {}", leader.map_or_else(|| "nobody is known to".into(), |leader| format!("{leader} does")))]
    NotLeader {
        /// Who leads, as far as this member knows.
        leader: Option<NodeId>,
    },
    /// The entry has this many bytes, which is too many. Nothing was proposed.
    #[error("a catalog entry of {0} bytes is too big")]
    TooBig(usize),
    /// The member that was to lead does not answer, or lacks a part of the log. Nothing was done.
    #[error("{0} is no voter that answers and has the whole log now")]
    Behind(NodeId),
    /// It may be committed, now or later, or never: leadership was lost, or the outcome did not come in time.
    #[error("whether the control group commits this is not known")]
    Unknown,
    /// This member's control group has stopped. As `Unknown`, but trying again here is of no use.
    #[error("the control group of this node has stopped: {0}")]
    Stopped(String),
}

/// A change of members was not made, or is not known to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MembershipError {
    /// This member does not lead.
    #[error("this aggregator does not lead the control group")]
    NotLeader {
        /// Who leads, as far as this member knows.
        leader: Option<NodeId>,
    },
    /// The group does not allow the change now; and why. Nothing was changed.
    #[error("the control group refuses this change of members: {0}")]
    Refused(String),
    /// It may be made, or made in part. To ask for the same again is safe and finishes it.
    #[error("whether the control group has made this change of members is not known")]
    Unknown,
    /// This member's control group has stopped.
    #[error("the control group of this node has stopped: {0}")]
    Stopped(String),
}

/// A call to another member failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// There is no connection: refused, or none could be made. The member is left alone for a moment.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// No answer came in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke, or the other side gave an error.
    #[error("failed: {0}")]
    Failed(String),
}

/// A request of another member was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandleError {
    /// The bytes are no request of this version.
    #[error("these bytes are no request: {0}")]
    Unreadable(String),
    /// The member has just started, and helps nobody to be elected before a lease has passed.
    #[error("it has just started and votes for nobody yet")]
    JustStarted,
    /// A piece of a snapshot does not follow the last one; the sender begins again.
    #[error("a piece of the snapshot is missing")]
    PieceMissing,
    /// This member's control group has stopped.
    #[error("the control group of this node has stopped: {0}")]
    Stopped(String),
}
