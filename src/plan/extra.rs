/// One of everything that only some normalizations learn, by the names of PyTorch's users and the papers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extra<T> {
    /// The factors of each class, where the shared ones are `weight`.
    pub class_weight: T,
    /// The summands of each class, where the shared ones are `bias`.
    pub class_bias: T,
    /// The threshold of each channel, below which an output does not fall.
    pub tau: T,
    /// What is added to eps, by its magnitude.
    pub eps_l: T,
    /// How instance, layer and batch mean are mixed, before softmax.
    pub mean_weight: T,
    /// How instance, layer and batch variance are mixed, before softmax.
    pub var_weight: T,
}

impl<T> Extra<T> {
    /// The names, in the order of [`into_array`](Self::into_array).
    pub const NAMES: [&'static str; 6] = ["class_weight", "class_bias", "tau", "eps_l", "mean_weight", "var_weight"];

    /// All of them.
    pub fn into_array(self) -> [T; 6] {
        [self.class_weight, self.class_bias, self.tau, self.eps_l, self.mean_weight, self.var_weight]
    }

    /// All of them by name.
    pub fn named(self) -> impl Iterator<Item = (&'static str, T)> {
        Self::NAMES.into_iter().zip(self.into_array())
    }

    /// The same of something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Extra<U> {
        Extra::from(self.into_array().map(f))
    }

    /// References to all of them.
    pub fn as_ref(&self) -> Extra<&T> {
        let Self { class_weight, class_bias, tau, eps_l, mean_weight, var_weight } = self;
        Extra { class_weight, class_bias, tau, eps_l, mean_weight, var_weight }
    }

    /// References to all of them, to be overwritten.
    pub fn as_mut(&mut self) -> Extra<&mut T> {
        let Self { class_weight, class_bias, tau, eps_l, mean_weight, var_weight } = self;
        Extra { class_weight, class_bias, tau, eps_l, mean_weight, var_weight }
    }

    /// Each with its like.
    pub fn zip<U>(self, other: Extra<U>) -> Extra<(T, U)> {
        let [a0, a1, a2, a3, a4, a5] = self.into_array();
        let [b0, b1, b2, b3, b4, b5] = other.into_array();
        Extra::from([(a0, b0), (a1, b1), (a2, b2), (a3, b3), (a4, b4), (a5, b5)])
    }
}

impl<T> From<[T; 6]> for Extra<T> {
    fn from([class_weight, class_bias, tau, eps_l, mean_weight, var_weight]: [T; 6]) -> Self {
        Self { class_weight, class_bias, tau, eps_l, mean_weight, var_weight }
    }
}

impl<T> Extra<Option<T>> {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.as_ref().into_array().iter().any(|one| one.is_some())
    }
}
