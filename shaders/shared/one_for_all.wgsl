// Where there are no parameters, none differ.
override PARAMETER_STEP: u32 = 0u;
