#include "route/performance.h"

struct performance performance_complete(const struct performance *performance)
{
    struct performance out = *performance;
#define PERFORMANCE(member, property, format, least, most, normal, help) \
    out.member = out.member == 0 ? (normal) : out.member;
#include "route/performance.def"
#undef PERFORMANCE
    return out;
}
