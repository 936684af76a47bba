/* Names and CPUs of threads. */
#pragma once

/* Names the calling thread after the core and pins it to a CPU (-1: not). A failure to pin is no
 * error: the process may not use that CPU. */
void thread_setup(unsigned core, int cpu);
/* Keeps the calling thread, and those it will start, off the first `taken` CPUs that it may use;
 * not when there is no other. */
void thread_avoid(unsigned taken);
