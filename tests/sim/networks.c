#include "tests/sim/networks.h"

#include "smtp/srv_conn.h"
#include "smtp/srv_proxy.h"
#include "tests/sim/sim.h"

enum { BITS_V4 = 24, BITS_V6 = 48 };

static uint32_t limit;
unsigned long long networks_shared;

void networks_limit(uint32_t connections)
{
    limit = connections;
}

void networks_image(struct image *image)
{
    image->network_connections_max = limit;
    image->network_bits_v4 = BITS_V4;
    image->network_bits_v6 = BITS_V6;
}

/* Whether a client was trusted when it came is not to be seen any more when its listener is gone.
 */
static bool is_limited(const struct srv_conn *conn)
{
    bool limited = conn->listener->conf == NULL ? conn->network_place != SESSION_COUNT_NOT
                                                : !srv_proxy_trusted(conn);
    return conn->counted && limited;
}

/* Sessions of this core's clients in the network. */
static uint32_t sessions_in(struct service *service, const struct netmask *network)
{
    uint32_t count = 0;
    struct list_node *node = list_first(&service->sessions);
    for (; node != NULL; node = list_next(&service->sessions, node)) {
        const struct srv_conn *conn = mx_container_of(node, struct srv_conn, node);
        count += is_limited(conn) && netmask_contains(network, &conn->client);
    }
    return count;
}

static void check_one(struct service *(*service)(unsigned core), unsigned cores,
                      const struct srv_conn *conn)
{
    struct netmask network =
        netmask_of(&conn->client, conn->client.family == 4 ? BITS_V4 : BITS_V6);
    uint32_t count = 0;
    for (unsigned i = 0; i < cores; i++) {
        count += sessions_in(service(i), &network);
    }
    networks_shared += count > 1;
    if (count > limit) {
        sim_fail("%u sessions from one network, of at most %u", count, limit);
    }
}

void networks_check(struct service *(*service)(unsigned core), unsigned cores)
{
    for (unsigned i = 0; limit > 0 && i < cores; i++) {
        struct list_node *node = list_first(&service(i)->sessions);
        for (; node != NULL; node = list_next(&service(i)->sessions, node)) {
            const struct srv_conn *conn = mx_container_of(node, struct srv_conn, node);
            if (is_limited(conn)) {
                check_one(service, cores, conn);
            }
        }
    }
}
