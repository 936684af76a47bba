#include "route/outbound.h"

#include "core/cursor.h"
#include "core/hash.h"

enum { MINUTE_MS = 60000 };

const struct tls_strategy outbound_tls_default = {.name = {(const uint8_t *)"default", 7},
                                                  .start_tls = START_TLS_OPTIONAL,
                                                  .handshake_ms = MINUTE_MS};
const struct connection_strategy outbound_connection_default = {
    .name = {(const uint8_t *)"default", 7},
    .times = {.connect = MINUTE_MS,
              .greeting = 5 * MINUTE_MS,
              .ehlo = 5 * MINUTE_MS,
              .mail = 5 * MINUTE_MS,
              .rcpt = 5 * MINUTE_MS,
              .data = 10 * MINUTE_MS}};

const struct tls_strategy *outbound_tls(const struct outbound_conf *conf, struct slice name)
{
    for (uint32_t i = 0; i < conf->tls_count; i++) {
        if (slice_equal(conf->tls[i].name, name)) {
            return &conf->tls[i];
        }
    }
    return slice_equal(name, outbound_tls_default.name) ? &outbound_tls_default : NULL;
}

const struct connection_strategy *outbound_connection(const struct outbound_conf *conf,
                                                      struct slice name)
{
    for (uint32_t i = 0; i < conf->connection_count; i++) {
        if (slice_equal(conf->connections[i].name, name)) {
            return &conf->connections[i];
        }
    }
    const struct connection_strategy *normal = &outbound_connection_default;
    return slice_equal(name, normal->name) ? normal : NULL;
}

uint64_t tls_strategy_effect(const struct tls_strategy *strategy)
{
    uint8_t buf[16];
    struct writer w = writer_init(buf, sizeof buf);
    put_u8(&w, (uint8_t)strategy->start_tls);
    put_u8(&w, strategy->allow_invalid_certs);
    put_u32(&w, strategy->handshake_ms);
    return hash_checksum(writer_slice(&w));
}

uint64_t connection_strategy_effect(const struct connection_strategy *strategy)
{
    const struct connection_times *times = &strategy->times;
    uint8_t buf[32];
    struct writer w = writer_init(buf, sizeof buf);
    put_u32(&w, times->connect);
    put_u32(&w, times->greeting);
    put_u32(&w, times->ehlo);
    put_u32(&w, times->mail);
    put_u32(&w, times->rcpt);
    put_u32(&w, times->data);
    uint64_t effect = hash_checksum(writer_slice(&w));
    effect = hash_checksum_next(effect, strategy->ehlo_name);
    for (uint32_t i = 0; i < strategy->source_count; i++) {
        const struct source_address *source = &strategy->sources[i];
        effect = hash_checksum_next(effect, slice_of(&source->addr.family, 1));
        effect = hash_checksum_next(effect, slice_of(source->addr.bytes, 16));
        effect = hash_checksum_next(effect, source->ehlo_name);
    }
    return effect;
}
