#include "core/overload.h"

#include "core/check.h"

/* In hundredths of the threshold: where a level begins, and what has to be passed to leave it. */
struct marks {
    bool left; /* the gauge is what is left: less is worse */
    uint16_t enter[OVERLOAD_LEVELS], leave[OVERLOAD_LEVELS];
};

static const struct marks of_use = {.enter = {0, 90, 100}, .leave = {0, 85, 95}};
static const struct marks of_rest = {.left = true, .enter = {0, 200, 100}, .leave = {0, 225, 125}};

static const struct {
    const struct marks *marks;
    struct overload_text text;
} resources[OVERLOAD_RESOURCES] = {
    [OVERLOAD_DESCRIPTORS] = {&of_use,
                              {"descriptors", "overload: descriptors",
                               "raise the limit of open files (ulimit -n, LimitNOFILE), or lower "
                               "SystemSettings.maxConnections"}},
    [OVERLOAD_MEMORY] =
        {&of_use,
         {"memory", "overload: memory",
          "raise Performance.contentMemory, or lower SystemSettings.maxConnections"}},
    [OVERLOAD_DISK_BYTES] = {&of_rest,
                             {"disk_bytes", "overload: disk space",
                              "make room on the file systems of the data folder"}},
    [OVERLOAD_DISK_INODES] = {&of_rest,
                              {"disk_inodes", "overload: disk inodes",
                               "remove files from the file systems of the data folder"}},
    [OVERLOAD_QUEUE_MESSAGES] =
        {&of_use,
         {"queue_messages", "overload: queue messages",
          "find the next hop that takes nothing (ringmx-cli queue shape), or raise "
          "Performance.overloadQueueMessages"}},
    [OVERLOAD_QUEUE_BYTES] =
        {&of_use,
         {"queue_bytes", "overload: queue bytes",
          "find the next hop that takes nothing (ringmx-cli queue shape), or raise "
          "Performance.overloadQueueBytes"}},
};

/* Rounded up, so that a mark is never 0. */
static uint64_t mark_of(uint64_t threshold, uint16_t hundredths)
{
    return threshold / 100 * hundredths + (threshold % 100 * hundredths + 99) / 100;
}

static bool entered(const struct marks *marks, unsigned level, uint64_t value, uint64_t threshold)
{
    uint64_t mark = mark_of(threshold, marks->enter[level]);
    return marks->left ? value < mark : value >= mark;
}

static bool kept(const struct marks *marks, unsigned level, uint64_t value, uint64_t threshold)
{
    uint64_t mark = mark_of(threshold, marks->leave[level]);
    return marks->left ? value < mark : value >= mark;
}

bool overload_step(struct overload_state *state, enum overload_resource resource, uint64_t value,
                   uint64_t threshold)
{
    MX_ASSERT((size_t)resource < OVERLOAD_RESOURCES && threshold > 0);
    const struct marks *marks = resources[resource].marks;
    unsigned level = OVERLOAD_LEVELS - 1;
    while (level > OVERLOAD_NONE &&
           !(level > state->level ? entered(marks, level, value, threshold)
                                  : kept(marks, level, value, threshold))) {
        level--;
    }
    if (level < state->level && ++state->calm < OVERLOAD_CALM) {
        return false;
    }
    bool changed = level != state->level;
    *state = (struct overload_state){.level = (uint8_t)level};
    return changed;
}

const struct overload_text *overload_text(enum overload_resource resource)
{
    MX_ASSERT((size_t)resource < OVERLOAD_RESOURCES);
    return &resources[resource].text;
}
