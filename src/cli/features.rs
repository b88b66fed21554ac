//! `--disable-feature`: an adapter as if it had less.

use wgpu_norm::wgpu::Features;

/// What an adapter may have and no kernel needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Optional {
    Subgroup,
    F16,
    Immediates,
    Timestamp,
}

/// What to do without.
#[derive(Debug, clap::Args)]
pub(super) struct Disabled {
    /// Do without features that adapters may have, as on an adapter that lacks them.
    #[arg(long = "disable-feature", value_name = "FEATURE", value_delimiter = ',')]
    disabled: Vec<Optional>,
}

impl Disabled {
    /// wgpu's features that stand for these.
    pub(super) fn features(&self) -> Features {
        self.disabled.iter().fold(Features::empty(), |all, optional| all | optional.features())
    }
}

impl Optional {
    fn features(self) -> Features {
        match self {
            Self::Subgroup => Features::SUBGROUP,
            Self::F16 => Features::SHADER_F16,
            Self::Immediates => Features::IMMEDIATES,
            Self::Timestamp => Features::TIMESTAMP_QUERY,
        }
    }
}
