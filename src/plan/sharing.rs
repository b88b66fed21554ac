/// Whose the statistics of the input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// Its own.
    #[default]
    Own,
    /// Those of all ranks of a group, where there is one.
    Group,
    /// Its own here, since this is evaluation, though a group's in training.
    OwnInEvaluation,
}
