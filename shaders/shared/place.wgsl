// Where a lane stands: the item that it works on, and its number among the item's lanes.
struct Place {
    item: u32,
    lane: u32,
}
