// What a sum begins with: a negative zero that is added becomes a positive one. No compiler knows that `task.zero` is 0, so
// none leaves the addition out.
fn positive_zero() -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(task.zero));
}
