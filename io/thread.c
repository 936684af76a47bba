#include "io/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

void thread_setup(unsigned core, int cpu)
{
    char name[16];
    (void)snprintf(name, sizeof name, "ringmx-%u", core % 10000);
    (void)pthread_setname_np(pthread_self(), name);
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
}
