/* The pump of the SMTP/LMTP client: connections of one core to a relay. They are kept after a
 * transaction and used again; one transaction at a time per connection. */
#pragma once

#include "smtp/deliver.h"

enum {
    RELAY_CLEAR_MESSAGES = 20, /* over a connection in clear because a handshake failed */
    RELAY_LOOK_MAX = 32, /* waiting deliveries that a connection looks at for one it may take */
};

size_t relay_conn_bytes(void);
/* Gives waiting deliveries to idle connections and opens new ones within the bounds. */
void relay_run(struct hop *hop);
/* True when some connection got as far as taking mail. */
bool relay_has_session(const struct hop *hop);
/* Ends one idle connection, for another core; false: there is none. */
bool relay_quit_one(struct hop *hop);
/* The time that idle connections are kept has changed: it begins anew. */
void relay_keep_idle(struct hop *hop);
/* Ends idle connections politely. */
void relay_stop_idle(struct hop *hop);
/* Cuts all connections; their deliveries are dropped without outcome. */
void relay_abort_all(struct hop *hop);
