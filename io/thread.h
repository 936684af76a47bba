/* Names and CPUs of threads. */
#pragma once

#include <stdint.h>

/* Names the calling thread after the core and pins it to a CPU (-1: not). A failure to pin is no
 * error: the process may not use that CPU. */
void thread_setup(unsigned core, int cpu);
/* Keeps the calling thread, and those it will start, off the first `taken` CPUs that it may use;
 * not when there is no other. */
void thread_avoid(unsigned taken);
/* Says how long the calling thread, and those it will start, may keep a CPU while others wait, in
 * nanoseconds (the kernel takes 100 us to 100 ms; its own are 3 ms). Whoever asks for less is let
 * in front as soon as it wakes: before management the cores, before these the threads of the
 * kernel, which completes writes on whichever CPU the device interrupts. sched_setattr(2); Linux
 * before 6.12 ignores it. */
void thread_slice(uint64_t ns);
