// What lanes have of their four columns, lane by lane, so that one lane can join what those of a column have.

// Four times WORKGROUP_SIZE where lanes are joined.
override TILE: u32 = 4u;

var<workgroup> tile: array<vec4<f32>, TILE>;

// The first of the team's columns.
fn segment_begin(columns: ColumnItem, lane: u32) -> u32 {
    return columns.place - 4u * (lane % column_lanes());
}

// What the team's row lane `y` has of the segment's column `column`.
fn of_row_lane(lane: u32, y: u32, column: u32) -> vec4<f32> {
    return tile[4u * (own_lane - lane) + y * column_step() + column];
}
