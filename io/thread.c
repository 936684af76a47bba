#include "io/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

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

void thread_avoid(unsigned taken)
{
    cpu_set_t set;
    if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) != 0) {
        return;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE && taken > 0; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            CPU_CLR(cpu, &set);
            taken--;
        }
    }
    if (CPU_COUNT(&set) > 0) {
        (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
}

/* struct sched_attr of the kernel, whose header cannot stand beside the C library's. */
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void thread_slice(uint64_t ns)
{
    struct attributes attributes = {.size = sizeof attributes,
                                    .policy = SCHED_OTHER,
                                    .nice = getpriority(PRIO_PROCESS, 0),
                                    .runtime = ns};
    if (sched_getscheduler(0) == SCHED_OTHER) { /* not where an operator chose another */
        (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
    }
}
