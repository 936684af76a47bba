/* Names, limits, trusted networks and certificate of the whole server. */
#include "admin/certificate.h"
#include "admin/config_private.h"
#include "admin/json_memory.h"
#include "admin/object_id.h"
#include "admin/objects.h"
#include "core/text.h"
#include "io/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HOSTNAME_MAX = 255 };

/* Networks --------------------------------------------------------------------------------- */

mx_err build_networks(struct builder *b, const struct netmask **out_networks, uint32_t *out_count,
                      const json_t *object, const char *field)
{
    json_t *set = json_object_get(object, field);
    size_t count = json_object_size(set);
    struct netmask *networks = arena_take(b->arena, (count + 1) * sizeof(*networks));
    if (!networks) {
        return builder_no_memory(b);
    }
    size_t at = 0;
    const char *text;
    json_t *yes;
    json_object_foreach(set, text, yes)
    {
        mx_err err = netmask_parse(&networks[at++], slice_of_text(text));
        if (err) {
            return builder_fail(b, err, "field %s: '%s' is not a network", field, text);
        }
    }
    *out_networks = networks;
    *out_count = (uint32_t)count;
    return MX_OK;
}

/* Settings of the whole server ------------------------------------------------------------- */

/* Of the machine, or "localhost" when it has none that is good for SMTP. */
static struct slice own_hostname(char out[HOSTNAME_MAX + 1])
{
    if (gethostname(out, HOSTNAME_MAX) != 0 || out[0] == 0) {
        return SLICE_LITERAL("localhost");
    }
    out[HOSTNAME_MAX] = 0;
    struct slice name = slice_of_text(out);
    text_lower((uint8_t *)out, name);
    for (size_t i = 0; i < name.len; i++) {
        if (!ascii_is_alnum(name.ptr[i]) && name.ptr[i] != '-' && name.ptr[i] != '.') {
            return SLICE_LITERAL("localhost");
        }
    }
    return name;
}

static mx_err build_names(struct builder *b, const json_t *settings)
{
    struct image *image = &b->config->image;
    struct slice name = config_text(settings, "defaultHostname");
    char own[HOSTNAME_MAX + 1], digits[16];
    struct slice machine = own_hostname(own);
    struct writer w = writer_init(digits, sizeof digits);
    put_decimal(&w, store_node(b->store));
    mx_err err = arena_copy(&image->hostname, b->arena, name.len > 0 ? name : machine);
    err = err ? err : arena_copy(&image->node_hostname, b->arena, machine);
    err = err ? err : arena_copy(&image->node_id, b->arena, writer_slice(&w));
    return err ? builder_no_memory(b) : MX_OK;
}

/* The name of the default domain; empty when there is none. */
static mx_err build_domain(struct builder *b, const json_t *settings)
{
    struct slice id_text = config_text(settings, "defaultDomainId");
    uint64_t id;
    if (id_text.len == 0) {
        return MX_OK;
    }
    json_t *domain;
    mx_err err = object_id_parse(&id, id_text);
    MX_ASSERT(err == MX_OK);
    err = store_get(b->store, &domain, config_type("Domain"), id);
    if (err) {
        return err == MX_ERR_NOTFOUND
                   ? builder_fail(b, err, "field defaultDomainId: there is no such Domain")
                   : builder_store_failed(b, err);
    }
    err = arena_copy(&b->config->image.domain, b->arena, config_text(domain, "name"));
    json_decref(domain);
    return err ? builder_no_memory(b) : MX_OK;
}

static mx_err build_postmaster(struct builder *b, const json_t *settings)
{
    struct slice configured = config_text(settings, "postmasterAddress");
    struct slice domain = b->config->image.domain;
    char address[512];
    if (configured.len == 0 && domain.len > 0) {
        int len = snprintf(address, sizeof(address), "postmaster@%.*s", SLICE_ARGS(domain));
        MX_ASSERT(len > 0 && (size_t)len < sizeof(address));
        configured = slice_of(address, (size_t)len);
    }
    return configured.len && arena_copy(&b->config->image.postmaster, b->arena, configured)
               ? builder_no_memory(b)
               : MX_OK;
}

/* The id of the certificate to use; 0 when there is none. */
static mx_err choose_certificate(struct builder *b, uint64_t *out_id, const json_t *settings)
{
    struct slice id_text = config_text(settings, "defaultCertificateId");
    if (id_text.len) {
        mx_err err = object_id_parse(out_id, id_text);
        MX_ASSERT(err == MX_OK);
        return MX_OK;
    }
    struct config_count only = {0};
    mx_err err = store_each(b->store, config_type("Certificate"), config_count_object, &only);
    if (err) {
        return builder_store_failed(b, err);
    }
    if (only.count > 1) {
        return builder_fail(b, MX_ERR_INVALID,
                            "field defaultCertificateId: there are %zu certificates; name the one "
                            "to use",
                            only.count);
    }
    *out_id = only.id;
    return MX_OK;
}

static void put_object_text(char out[CONFIG_SKIPPED_MAX], uint64_t id, const char *property,
                            const char *reason)
{
    uint8_t buf[OBJECT_ID_TEXT_MAX];
    struct writer w = writer_init(buf, sizeof(buf));
    put_object_id(&w, id);
    (void)snprintf(out, CONFIG_SKIPPED_MAX, "Certificate %.*s, field %s: %s", (int)w.len,
                   (const char *)buf, property, reason);
}

/* Every certificate with its key, one behind the other, the default one first: io/tls.h. */
struct certificate_texts {
    struct builder *b;
    uint64_t first;
    unsigned count;
    bool full;
    FILE *certs, *keys;
};

static void put_certificate(struct certificate_texts *all, struct certificate_text *text)
{
    fprintf(all->certs, "%.*s\n", (int)text->cert_len, (const char *)text->cert_pem);
    fprintf(all->keys, "%.*s\n", (int)text->key_len, (const char *)text->key_pem);
    certificate_free(text);
    all->count++;
}

/* Files that are gone since the object was made are no reason not to start. */
static mx_err add_other(void *arg, uint64_t id, json_t *object)
{
    struct certificate_texts *all = arg;
    struct certificate_text text = {0};
    const char *property;
    char reason[CERTIFICATE_REASON_MAX];
    if (id == all->first || all->full) {
        return MX_OK;
    }
    all->full = all->count == TLS_PAIRS_MAX;
    if (!all->full && certificate_read(&text, object, &property, reason) == MX_OK) {
        put_certificate(all, &text);
    } else if (!all->full) {
        put_object_text(all->b->config->skipped_certificate, id, property, reason);
    }
    return MX_OK;
}

static mx_err add_certificates(struct certificate_texts *all)
{
    struct builder *b = all->b;
    struct certificate_text text = {0};
    const char *property;
    char reason[CERTIFICATE_REASON_MAX];
    json_t *object;
    mx_err err = store_get(b->store, &object, b->type, all->first);
    if (err) {
        return err == MX_ERR_NOTFOUND ? builder_fail(b, err, "the default one does not exist")
                                      : builder_store_failed(b, err);
    }
    err = certificate_read(&text, object, &property, reason);
    json_decref(object);
    if (err) {
        return builder_fail(b, err, "field %s: %s", property, reason);
    }
    put_certificate(all, &text);
    err = store_each(b->store, b->type, add_other, all);
    if (err) {
        return builder_store_failed(b, err);
    }
    return all->full ? builder_fail(b, MX_ERR_LIMIT, "there are more than %d", TLS_PAIRS_MAX)
                     : MX_OK;
}

static mx_err build_certificate(struct builder *b, const json_t *settings)
{
    char *certs = NULL, *keys = NULL;
    size_t certs_len = 0, keys_len = 0;
    uint64_t id = 0;
    mx_err err = choose_certificate(b, &id, settings);
    if (err || id == 0) {
        return err;
    }
    b->type = config_type("Certificate");
    struct certificate_texts all = {.b = b,
                                    .first = id,
                                    .certs = open_memstream(&certs, &certs_len),
                                    .keys = open_memstream(&keys, &keys_len)};
    err = all.certs && all.keys ? add_certificates(&all) : builder_no_memory(b);
    bool whole = (!all.certs || fclose(all.certs) == 0) & (!all.keys || fclose(all.keys) == 0);
    struct certificate_conf *conf = err ? NULL : arena_take(b->arena, sizeof(*conf));
    bool good = conf && whole &&
                arena_copy(&conf->cert_pem, b->arena, slice_of(certs, certs_len)) == MX_OK &&
                arena_copy(&conf->key_pem, b->arena, slice_of(keys, keys_len)) == MX_OK;
    if (keys) {
        explicit_bzero(keys, keys_len);
    }
    free(certs);
    free(keys);
    b->config->image.certificate = conf;
    return err || good ? err : builder_no_memory(b);
}

mx_err build_settings(struct builder *b)
{
    struct image *image = &b->config->image;
    json_t *settings;
    mx_err err = builder_singleton(b, &settings, "SystemSettings");
    if (err) {
        return err;
    }
    image->connections_max =
        (uint32_t)json_integer_value(json_object_get(settings, "maxConnections"));
    image->client_connections_max =
        (uint32_t)json_integer_value(json_object_get(settings, "maxConnectionsPerClient"));
    image->network_connections_max = (uint32_t)config_number(settings, "maxConnectionsPerNetwork");
    image->network_bits_v4 = (uint8_t)config_number(settings, "networkPrefixLengthIpv4");
    image->network_bits_v6 = (uint8_t)config_number(settings, "networkPrefixLengthIpv6");
    err = build_names(b, settings);
    err = err ? err : build_domain(b, settings);
    err = err ? err : build_postmaster(b, settings);
    err = err ? err
              : build_networks(b, &image->proxy_networks, &image->proxy_network_count, settings,
                               "proxyTrustedNetworks");
    err = err ? err : build_certificate(b, settings);
    json_decref(settings);
    return err;
}
