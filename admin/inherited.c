#include "admin/inherited.h"

#include "core/slice.h"
#include "core/text.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */

/* Of the process, like the descriptors themselves. */
static struct {
    struct ring_addr addr;
    int fd;
    atomic_bool taken;
} sockets[INHERITED_MAX];
static unsigned count;

static bool announced(uint64_t *out)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t number;
    bool ours = pid != NULL && fds != NULL && text_to_u64(&number, slice_of_text(pid)) == MX_OK &&
                number == (uint64_t)getpid() && text_to_u64(out, slice_of_text(fds)) == MX_OK;
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return ours;
}

/* NULL, or why the descriptor is none that can be accepted from. */
static const char *read_socket(int fd, struct ring_addr *out)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof addr, value_len = sizeof(int);
    int listening = 0, one = 1;
    if (getsockname(fd, (void *)&addr, &len) != 0 ||
        (addr.ss_family != AF_INET && addr.ss_family != AF_INET6) ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &value_len) != 0 || !listening) {
        return "a descriptor of LISTEN_FDS is not a listening TCP socket (in the socket unit: "
               "ListenStream=, Accept=no)";
    }
    *out = (struct ring_addr){.len = (uint8_t)len};
    memcpy(out->bytes, &addr, len);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return NULL;
}

unsigned inherited_open(const char **problem)
{
    uint64_t number = 0;
    *problem = NULL;
    count = 0;
    if (!announced(&number)) {
        return 0;
    }
    if (number > INHERITED_MAX) {
        *problem = "LISTEN_FDS announces more than 64 sockets";
        return 0;
    }
    for (int fd = FIRST_FD; fd < FIRST_FD + (int)number && *problem == NULL; fd++) {
        *problem = read_socket(fd, &sockets[count].addr);
        if (*problem == NULL) {
            sockets[count].fd = fd;
            atomic_init(&sockets[count].taken, false);
            count++;
        }
    }
    return count;
}

int inherited_take(const struct ring_addr *addr)
{
    for (unsigned i = 0; i < count; i++) {
        const struct ring_addr *have = &sockets[i].addr;
        if (have->len == addr->len && memcmp(have->bytes, addr->bytes, addr->len) == 0) {
            atomic_store(&sockets[i].taken, true);
            return fcntl(sockets[i].fd, F_DUPFD_CLOEXEC, 0);
        }
    }
    return -1;
}

bool inherited_unused(unsigned *at, struct ring_addr *addr)
{
    while (*at < count && atomic_load(&sockets[*at].taken)) {
        (*at)++;
    }
    if (*at >= count) {
        return false;
    }
    *addr = sockets[(*at)++].addr;
    return true;
}
