#include "io/random.h"

#include "core/check.h"

#include <errno.h>
#include <sys/random.h>

void random_fill(void *out, size_t len)
{
    uint8_t *at = out;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0) {
            MX_ASSERT(errno == EINTR); /* getrandom exists on every kernel that we run on */
            continue;
        }
        at += got;
        len -= (size_t)got;
    }
}

uint64_t random_u64(void)
{
    uint64_t value;
    random_fill(&value, sizeof value);
    return value;
}
