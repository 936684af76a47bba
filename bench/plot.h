/* `ringmx-bench plot`: the JSON of `ringmx-bench send` as an SVG (bench/chart). */
#pragma once

/* argv[0] is "plot". Returns the exit code. */
int plot_command(int argc, char **argv);
