// What an adapter does in f32 where WGSL leaves it open. The results stand in the order of `Probe` in engine/arithmetic.rs.

struct Operands {
    nan: f32,
    zero: f32,
    one: f32,
    infinity: f32,
    other_infinity: f32,
    largest: f32,
    subnormal: f32,
    least_normal: f32,
    half: f32,
    large: f32,
    factor: f32,
    minus_square: f32,
}

// From a buffer, so that no compiler knows them, nor that both infinities are one.
@group(0) @binding(0) var<storage, read> operands: Operands;
// Bits: nothing between here and the host may take a number for another.
@group(0) @binding(1) var<storage, read_write> results: array<u32>;

@compute @workgroup_size(1)
fn probe() {
    let o = operands;
    results[0] = bitcast<u32>(select(o.zero, o.one, o.nan != o.nan));
    results[1] = bitcast<u32>(o.nan + o.one);
    results[2] = bitcast<u32>(o.nan * o.zero);
    results[3] = bitcast<u32>(select(o.nan, o.zero, o.nan < o.zero));
    results[4] = bitcast<u32>(min(o.nan, o.one));
    results[5] = bitcast<u32>(min(o.one, o.nan));
    results[6] = bitcast<u32>(max(o.nan, o.one));
    results[7] = bitcast<u32>(max(o.one, o.nan));
    results[8] = bitcast<u32>(o.largest + o.largest);
    results[9] = bitcast<u32>(o.one / o.zero);
    results[10] = bitcast<u32>(o.infinity - o.other_infinity);
    results[11] = bitcast<u32>(o.infinity * o.zero);
    results[12] = bitcast<u32>(o.infinity - o.infinity);
    results[13] = bitcast<u32>(o.subnormal);
    results[14] = bitcast<u32>(o.subnormal * o.large);
    results[15] = bitcast<u32>(o.least_normal * o.half);
    results[16] = bitcast<u32>(o.factor * o.factor + o.minus_square);
    results[17] = bitcast<u32>(fma(o.factor, o.factor, o.minus_square));
}
