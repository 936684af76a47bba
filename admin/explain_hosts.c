/* The hosts that another system's mail goes to, and how. */
#include "admin/explain_parts.h"

json_t *explain_connection_json(const struct connection_strategy *strategy)
{
    if (strategy == NULL) {
        return json_null();
    }
    json_t *object = json_object(), *sources = json_array();
    for (uint32_t i = 0; i < strategy->source_count; i++) {
        json_array_append_new(sources, explain_netaddr(&strategy->sources[i].addr));
    }
    explain_set(object, "name", explain_text(strategy->name));
    explain_set(object, "ehloHostname",
                strategy->ehlo_name.len > 0 ? explain_text(strategy->ehlo_name) : json_null());
    explain_set(object, "sourceIps", sources);
    explain_set(object, "connectTimeout", explain_number(strategy->times.connect));
    explain_set(object, "greetingTimeout", explain_number(strategy->times.greeting));
    explain_set(object, "ehloTimeout", explain_number(strategy->times.ehlo));
    explain_set(object, "mailFromTimeout", explain_number(strategy->times.mail));
    explain_set(object, "rcptToTimeout", explain_number(strategy->times.rcpt));
    explain_set(object, "dataTimeout", explain_number(strategy->times.data));
    return object;
}

json_t *explain_tls_json(const struct tls_strategy *strategy)
{
    static const char *const starts[] = {[START_TLS_OPTIONAL] = "optional",
                                         [START_TLS_REQUIRE] = "require",
                                         [START_TLS_DISABLE] = "disable"};
    if (strategy == NULL) {
        return json_null();
    }
    json_t *object = json_object();
    explain_set(object, "name", explain_text(strategy->name));
    explain_set(object, "startTls", json_string(starts[strategy->start_tls]));
    explain_set(object, "allowInvalidCerts", json_boolean(strategy->allow_invalid_certs));
    explain_set(object, "tlsTimeout", explain_number(strategy->handshake_ms));
    return object;
}

static json_t *throttles_of(const struct explanation *e, const struct explain_address *address)
{
    const struct limits_conf *traffic = &e->image->traffic;
    json_t *names = json_array();
    for (uint32_t i = 0; i < traffic->throttle_count; i++) {
        if ((address->throttles >> i & 1) != 0) {
            json_array_append_new(names, explain_text(traffic->throttles[i].name));
        }
    }
    return names;
}

json_t *explain_addresses_json(const struct explanation *e)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < e->hop.address_count; i++) {
        const struct explain_address *address = &e->hop.addresses[i];
        const struct strategy_pick *strategy = &address->strategy;
        char buf[NETADDR_TEXT_MAX + 8];
        struct writer w = writer_init(buf, sizeof buf);
        put_netaddr_port(&w, &address->addr);
        json_t *object = json_object();
        explain_set(object, "address", explain_text(writer_slice(&w)));
        explain_set(object, "host",
                    address->host[0] != '\0' ? json_string(address->host) : json_null());
        explain_set(object, "preference",
                    address->preference >= 0 ? explain_number((uint64_t)address->preference)
                                             : json_null());
        explain_set(object, "orderByChance", json_boolean(address->by_chance));
        explain_set(object, "connection",
                    strategy->connection != NULL ? explain_text(strategy->connection->name)
                                                 : json_null());
        explain_set(object, "tlsStrategy",
                    strategy->tls != NULL ? explain_text(strategy->tls->name) : json_null());
        explain_set(object, "throttles", throttles_of(e, address));
        json_array_append_new(list, object);
    }
    return list;
}
