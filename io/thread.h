/* Setting up a core's thread. */
#pragma once

/* Names the calling thread after the core and pins it to a CPU (-1: not). A failure to pin is no
 * error: the process may not use that CPU. */
void thread_setup(unsigned core, int cpu);
