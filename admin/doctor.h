/* `ringmx doctor`: what the kernel, the limits and the libraries give, and what to do where that is
 * not enough. */
#pragma once

#include <stdio.h>

/* data_dir may be NULL. Returns 0 when ringmx can run, 1 when something is FAIL. */
int doctor_run(FILE *out, const char *data_dir);
