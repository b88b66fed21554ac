// Parameters are in one table, and in no window of it.
fn bound_parameter(parameter: u32) -> vec2<u32> {
    return vec2<u32>(parameter);
}
