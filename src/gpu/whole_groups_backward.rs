//! Backward of whole groups: what registers or a processor's cache hold of them serves all gradients.

use super::backward::PAIR;
use super::boxes::{Box4, levels};
use super::parameters::SumsOfCells;
use super::partials::Columns;
use super::planner::{Planner, Pool, SCRATCH, low};
use super::slots::{Kernel, OfParameters, Registers};
use super::strategy::packs;
use super::uniforms::Task;
use super::variant::Variant;
use crate::error::Result;
use crate::plan::{Nesting, Wanted};

/// What `PARAMETER_SUMS` of the kernels is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParameterSums {
    Nothing = 0,
    EachPlace = 1,
    EachGroup = 2,
}

/// How a kernel that holds whole groups takes them.
#[derive(Debug, Clone, Copy)]
struct Taking {
    variant: Variant,
    team: u32,
    sums: ParameterSums,
    /// Groups along a and c that share the sums of their places.
    block: [u64; 2],
    columns: Option<Columns>,
}

impl Planner<'_> {
    pub(super) fn whole_groups_backward(&mut self, wanted: Wanted) -> Result<()> {
        let sums = self.resident_sums(wanted);
        if sums == ParameterSums::Nothing {
            // Before the gradients that it reads may be replaced by those of the input.
            self.parameters_alone(wanted)?;
        }
        let taking = match Columns::to_hold_gradient(self.plan, self.device) {
            Some((columns, rows)) => self.taking_columns(sums, columns, rows),
            None => self.taking_groups(sums),
        };
        self.take(&taking, wanted)
    }

    /// A team takes a block of groups, one after the other.
    fn taking_groups(&self, sums: ParameterSums) -> Taking {
        let [_, b, c, d] = levels(self.plan.view);
        let group = b * c * d * self.plan.dtype.size() as u64;
        let (groups, packs) = (self.plan.view.statistics() as u64, packs(self.plan.view));
        let team = self.device.gradient_team(packs);
        // The groups of a block have to lie in one binding.
        let block =
            self.device.gradient_block(groups, packs, team).min(self.device.max_binding / 2 / group.max(1)).max(1);
        let block = if sums == ParameterSums::EachPlace { block } else { 1 };
        let along_a = c == 1 && self.plan.affine.map.a_scale == 0;
        let block = if along_a { [block, 1] } else { [1, if c == 1 { 1 } else { block }] };
        let registers = self.device.registers(packs.div_ceil(u64::from(team)));
        let in_cache = registers == Some(Registers::None);
        let kernel = if in_cache { Kernel::CachedGradient } else { Kernel::ResidentGradient };
        let mut variant = self.writing_gradients(Variant::new(kernel), d);
        variant.registers = registers.filter(|_| !in_cache);
        let by_packs = sums == ParameterSums::EachPlace && variant.has_whole_packs();
        variant.of_parameters = Some(if by_packs { OfParameters::Packs } else { OfParameters::Pairs });
        Taking { variant, team, sums, block, columns: None }
    }

    /// A team takes a segment of columns.
    fn taking_columns(&self, sums: ParameterSums, columns: Columns, rows: Registers) -> Taking {
        let [_, _, c, d] = levels(self.plan.view);
        let mut variant = self.writing_gradients(Variant::new(Kernel::ResidentGradientColumns), c * d);
        variant.registers = Some(rows);
        variant.of_parameters = Some(OfParameters::Pairs);
        Taking { variant, team: columns.team, sums, block: [1, columns.segment()], columns: Some(columns) }
    }

    /// Everything from one read.
    fn take(&mut self, taking: &Taking, wanted: Wanted) -> Result<()> {
        let view = self.plan.view;
        let [_, b, c, d] = levels(view);
        let [block_a, block_c] = taking.block;
        let blocks = |piece: &Box4| [piece.extent(0).div_ceil(block_a), piece.extent(2).div_ceil(block_c)];
        let partials = |piece: &Box4| match taking.sums {
            ParameterSums::Nothing => 1,
            // A step of a is all c sums, of which the last may have fewer.
            ParameterSums::EachGroup => (piece.extent(0) - 1) * c + piece.extent(2),
            ParameterSums::EachPlace => blocks(piece).into_iter().product::<u64>() * b * d,
        };
        // Columns leave a sum for every row and segment, which is much where segments are narrow.
        let most =
            if taking.columns.is_some() { SCRATCH.min(self.device.max_binding) } else { self.device.max_binding };
        let fits = |piece: &Box4| {
            self.window_fits(view, piece)
                && self.parameters_fit(piece)
                && self.statistics_fit(piece)
                && partials(piece) * PAIR <= most
        };
        let granule_a = match taking.sums {
            // Steps of a that have parameters of their own may be apart, and have to be where columns are cut.
            ParameterSums::EachGroup if self.period() >= view.a as u64 => 1,
            ParameterSums::EachGroup => self.period(),
            ParameterSums::EachPlace | ParameterSums::Nothing => block_a,
        };
        let whole = Box4::whole(view);
        let granule = |a| [a, b, block_c.min(c), d];
        let pieces = match whole.cut(granule(granule_a), &fits) {
            // Or some within one row of parameters, where a whole one is too much.
            None if taking.sums == ParameterSums::EachGroup => whole.cut_within(granule_a, granule(1), &fits),
            pieces => pieces,
        };
        let pieces = pieces.ok_or_else(|| self.beyond_binding())?;
        let several = pieces.len() > 1;
        let second = taking.sums == ParameterSums::EachGroup && self.has_second_sums();
        for piece in &pieces {
            let mut task = self.task(self.ground(), piece, piece);
            taking.deal(&mut task, piece, blocks(piece), d);
            task.second_origin = low(partials(piece));
            let (row, by_columns) = taking.columns.map_or((d, false), |_| (c * d, true));
            let step = self.parameter_step(row, by_columns);
            let pushed = self.push(self.ground(), taking.variant, taking.team, task, piece, piece, step);
            pushed.constants.parameter_sums =
                Some(taking.sums as u32).filter(|_| taking.sums != ParameterSums::Nothing);
            pushed.constants.second = second.then_some(true);
            pushed.constants.row_lanes = taking.columns.and_then(|columns| columns.shared_columns());
            pushed.partials = Pool::Cells;
            self.out.reserve(Pool::Cells, partials(piece) * if second { 2 * PAIR } else { PAIR });
            match taking.sums {
                ParameterSums::Nothing => {}
                ParameterSums::EachGroup => {
                    let sums = SumsOfCells { cells: view, pool: Pool::Cells, each: 1 };
                    self.parameters_of_cells(piece, sums, wanted, several);
                }
                ParameterSums::EachPlace => self.parameters_of_blocks(piece, blocks(piece), wanted, several),
            }
        }
        if taking.sums != ParameterSums::Nothing {
            self.parameters_of_carry(wanted, several);
        }
        Ok(())
    }

    /// What the kernels can add up for the parameters on its way.
    fn resident_sums(&self, wanted: Wanted) -> ParameterSums {
        let (map, view) = (self.plan.affine.map, self.plan.view);
        let samples = map.len / view.count().max(1);
        let each_place = map.c_scale == 0
            && map.d_divisor == 1
            && map.len == samples * view.count()
            && (map.a_scale == 0 || (map.a_scale == view.count() && map.a_modulus == view.a));
        match self.plan.affine.cells.nesting {
            _ if !wanted.parameters() => ParameterSums::Nothing,
            Nesting::Equal => ParameterSums::EachGroup,
            Nesting::Across(_) if each_place => ParameterSums::EachPlace,
            _ => ParameterSums::Nothing,
        }
    }
}

impl Taking {
    /// Tells a task how the groups of its box are dealt out, in so many blocks.
    fn deal(&self, task: &mut Task, piece: &Box4, blocks: [u64; 2], d: u64) {
        if let Some(columns) = &self.columns {
            return columns.deal(task, piece, d);
        }
        [task.block_a, task.block_c] = self.block.map(low);
        task.extent[2] = low(blocks[1]);
        task.items = low(blocks[0] * blocks[1]);
    }
}
