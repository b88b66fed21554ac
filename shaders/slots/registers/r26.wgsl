// Packs of four elements that a lane holds at most.
const REGISTERS = 26u;
