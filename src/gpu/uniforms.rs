//! The uniform block of a dispatch.

/// Mirrors `Task` of `shaders/shared/task.wgsl`, where each field is explained; a test compares the two.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
#[expect(missing_docs, reason = "explained where the shader declares them")]
pub struct Task {
    pub levels: [u32; 4],
    pub origin: [u32; 4],
    pub extent: [u32; 4],
    pub statistics_origin: [u32; 2],
    pub statistics_row: u32,
    pub items: u32,
    pub input_shift: u32,
    pub output_shift: u32,
    pub weight_shift: u32,
    pub bias_shift: u32,
    pub x_shift: u32,
    pub added_shift: u32,
    pub sum_shift: u32,
    pub statistics_shift: u32,
    pub extra_shift: [u32; 2],
    pub rows: u32,
    pub segment: u32,
    pub segments: u32,
    pub partials: u32,
    pub a_modulus: u32,
    pub a_scale: u32,
    pub b_divisor: u32,
    pub b_scale: u32,
    pub c_scale: u32,
    pub d_divisor: u32,
    pub channels: u32,
    pub samples: u32,
    pub channel_origin: u32,
    pub place_end: u32,
    pub a_end: u32,
    pub c_end: u32,
    pub is_first_chunk: u32,
    pub samples_share: f32,
    pub statistic_a_divisor: u32,
    pub statistic_a_modulus: u32,
    pub statistic_a_scale: u32,
    pub statistic_b_scale: u32,
    pub statistic_c_divisor: u32,
    pub statistic_c_scale: u32,
    pub statistic_d_scale: u32,
    pub block_a: u32,
    pub block_c: u32,
    pub sums_inner: u32,
    pub sums_outer: u32,
    pub sums_stride: u32,
    pub sums_count: u32,
    pub sums_origin: u32,
    pub sums_len: u32,
    pub terms_origin: u32,
    pub second_origin: u32,
    pub prepared_len: u32,
    pub prepared_width: u32,
    pub repeat: u32,
    pub classes: u32,
    pub present: u32,
    pub zero: u32,
    pub eps: f32,
    pub count: f32,
    pub divisor: f32,
    pub unbiased: f32,
    pub momentum: f32,
}

impl Task {
    /// Name and offset of each field.
    #[must_use]
    pub fn layout() -> Vec<(&'static str, usize)> {
        macro_rules! offsets {
            ($($field:ident)*) => { vec![$((stringify!($field), std::mem::offset_of!(Self, $field))),*] };
        }
        offsets!(
            levels origin extent statistics_origin statistics_row items input_shift output_shift weight_shift bias_shift x_shift added_shift sum_shift statistics_shift extra_shift rows segment segments partials a_modulus a_scale b_divisor b_scale c_scale d_divisor channels samples channel_origin place_end a_end c_end is_first_chunk samples_share statistic_a_divisor statistic_a_modulus statistic_a_scale statistic_b_scale statistic_c_divisor statistic_c_scale statistic_d_scale block_a block_c sums_inner sums_outer sums_stride sums_count sums_origin sums_len terms_origin second_origin prepared_len prepared_width repeat classes present zero eps count divisor unbiased momentum
        )
    }
}
