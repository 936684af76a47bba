/* What the cores get: defaults of a first start, everything of a full configuration, and many
 * accounts. */
#include "tests/admin/support.h"

#include "admin/object_id.h"
#include "admin/reference.h"
#include "core/text.h"
#include "io/tls.h"

#include <time.h>

static struct config *load(const struct scratch *scratch)
{
    struct config *config = NULL;
    struct config_problem problem;
    if (config_load(&config, scratch->data, &problem)) {
        fprintf(stderr, "load failed: %s\n", problem.text);
        exit(1);
    }
    return config;
}

static bool is_text(struct slice text, const char *expected)
{
    return slice_equal(text, slice_of_text(expected));
}

static bool is_bind(const struct netaddr *addr, const char *expected)
{
    char text[NETADDR_TEXT_MAX + 16];
    struct writer w = writer_init(text, sizeof(text));
    put_netaddr_port(&w, addr);
    return is_text(writer_slice(&w), expected);
}

static void check_defaults(void)
{
    struct scratch scratch;
    scratch_open(&scratch);
    CHECK(mkdir(scratch.data, 0700) == 0);
    struct config *config = load(&scratch);
    const struct image *image = &config->image;
    CHECK(image->generation == 1);
    CHECK(image->hostname.len > 0);
    CHECK(slice_equal(image_system(image, SLICE_LITERAL("hostname")), image->hostname));
    CHECK(slice_equal(image_system(image, SLICE_LITERAL("node_hostname")), image->hostname));
    CHECK(image_system(image, SLICE_LITERAL("domain")).len == 0);
    CHECK(image_system(image, SLICE_LITERAL("node_role")).len == 0);
    uint64_t node;
    CHECK(text_to_u64(&node, image_system(image, SLICE_LITERAL("node_id"))) == MX_OK);
    CHECK(node < (1u << OBJECT_NODE_BITS));
    CHECK(image->postmaster.len == 0);
    CHECK(image->connections_max == 8192 && image->client_connections_max == 200);
    CHECK(image->certificate == NULL);
    CHECK(image->proxy_network_count == 0);
    CHECK(image->route_program != NULL);
    CHECK(image->route_count == 2);
    CHECK(image_route(image, SLICE_LITERAL("local"))->kind == ROUTE_LOCAL);
    CHECK(image_route(image, SLICE_LITERAL("mx"))->kind == ROUTE_MX);
    CHECK(image->listener_count == 1);
    const struct listener_conf *listener = &image->listeners[0];
    CHECK(is_text(listener->name, "smtp"));
    CHECK(listener->bind_count == 1 && is_bind(&listener->binds[0], "[::]:25"));
    CHECK(listener->tls && !listener->tls_implicit && !listener->lmtp);
    CHECK(!listener->proxy_override);
    CHECK(listener->connections_max == 8192 && listener->backlog == 1024);
    const struct session_limits *limits = &image->limits;
    CHECK(limits->idle_ms == 300000 && limits->data_block_ms == 600000);
    CHECK(limits->data_rate == 500 && limits->data_grace_ms == 180000);
    CHECK(limits->refuse_pipelining && listener->greet_delay_ms == 0);
    CHECK(limits->session_ms == 3600000 && limits->proxy_header_ms == 5000);
    CHECK(limits->tls_handshake_ms == 60000 && limits->size_bytes_max == 104857600);
    CHECK(limits->line_bytes_max == 4096 && limits->rcpts_max == 1000);
    CHECK(limits->received_max == 50 && limits->errors_max == 20);
    CHECK(limits->messages_max == 1000 && limits->commands_max == 10000);
    CHECK(!limits->normalize_newlines && !limits->binarymime);
    CHECK(config->domain_count == 0 && config->address_count == 0);
    config_free(config);
    scratch_close(&scratch);
}

static const char full[] =
    "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":\"example.org\","
    "\"aliases\":{"
    "\"example.com\":true},\"allowRelaying\":true,\"catchAllAddress\":\"all@example.org\"},\"e\":{"
    "\"name\":\"example.net\",\"isEnabled\":false,\"subAddressing\":{\"@type\":\"Disabled\"}}}}\n"
    "{\"@type\":\"create\",\"object\":\"Account\",\"value\":{\"a\":{\"@type\":\"User\",\"name\":"
    "\"Alice\","
    "\"domainId\":\"#d\",\"aliases\":{\"0\":{\"name\":\"x\",\"domainId\":\"#e\"},\"1\":{\"name\":"
    "\"y\","
    "\"domainId\":\"#d\",\"enabled\":false}}}}}\n"
    "{\"@type\":\"create\",\"object\":\"MtaRoute\",\"value\":{\"r\":{\"@type\":\"Relay\",\"name\":"
    "\"source\","
    "\"address\":\"Old.Example.ORG\",\"port\":2526,\"protocol\":\"lmtp\",\"implicitTls\":true,"
    "\"allowInvalidCerts\":true}}}\n"
    "{\"@type\":\"update\",\"object\":\"MtaOutboundStrategy\",\"value\":{\"route\":{\"match\":{"
    "\"0\":{"
    "\"if\":\"is_local_address(rcpt)\",\"then\":\"'local'\"},\"1\":{\"if\":"
    "\"is_local_domain(rcpt_domain)\",\"then\":\"'source'\"}},\"else\":\"'mx'\"}}}\n"
    "{\"@type\":\"update\",\"object\":\"SystemSettings\",\"value\":{\"defaultHostname\":"
    "\"MX.example.org\",\"defaultDomainId\":\"#d\",\"maxConnections\":99,\"proxyTrustedNetworks\":{"
    "\"10.0.0.0/8\":true}}}\n"
    "{\"@type\":\"upsert\",\"object\":\"NetworkListener\",\"value\":{\"l\":{\"name\":\"smtp\","
    "\"bind\":{"
    "\"127.0.0.1:2525\":true,\"[::1]:2525\":true},\"useTls\":false,\"maxConnections\":null,"
    "\"socketBacklog\":7,\"overrideProxyTrustedNetworks\":{\"192.0.2.1\":true,\"::1\":true}}}}\n"
    "{\"@type\":\"update\",\"object\":\"MtaInboundSession\",\"value\":{\"timeout\":{\"else\":"
    "\"10s\"},"
    "\"maxErrors/else\":\"3\"}}\n"
    "{\"@type\":\"update\",\"object\":\"MtaStageData\",\"value\":{\"bareNewlines\":\"normalize\","
    "\"binaryMime\":true,\"maxMessageSize/else\":\"5000\"}}\n";

static void check_full_image(const struct image *image)
{
    CHECK(image->generation == 2);
    CHECK(is_text(image->hostname, "mx.example.org"));
    CHECK(is_text(image->postmaster, "postmaster@example.org"));
    CHECK(image->connections_max == 99);
    CHECK(image->proxy_network_count == 1 && image->proxy_networks[0].bits == 8);
    const struct route_conf *route = image_route(image, SLICE_LITERAL("source"));
    CHECK(route && route->kind == ROUTE_RELAY && route->port == 2526 && route->lmtp);
    CHECK(route && route->implicit_tls && route->allow_invalid_certs);
    CHECK(route && &image->routes[route->index] == route);
    CHECK(route && strcmp((const char *)route->address.ptr, "old.example.org") == 0);
    const struct listener_conf *listener = &image->listeners[0];
    CHECK(image->listener_count == 1 && listener->bind_count == 2);
    CHECK(is_bind(&listener->binds[0], "127.0.0.1:2525"));
    CHECK(is_bind(&listener->binds[1], "[::1]:2525"));
    CHECK(!listener->tls && listener->connections_max == 99 && listener->backlog == 7);
    CHECK(listener->proxy_override && listener->proxy_network_count == 2);
    CHECK(listener->proxy_networks[0].bits == 32 && listener->proxy_networks[1].bits == 128);
    CHECK(image->limits.idle_ms == 10000 && image->limits.errors_max == 3);
    CHECK(image->limits.size_bytes_max == 5000);
    CHECK(image->limits.normalize_newlines && image->limits.binarymime);
}

static void check_full_records(const struct config *config)
{
    CHECK(config->domain_count == 3 && config->address_count == 3);
    uint64_t domain_id = 0;
    uint64_t other_id = 0;
    for (size_t i = 0; i < config->domain_count; i++) {
        const struct dir_domain *domain = &config->domains[i];
        if (is_text(domain->name, "example.net")) {
            other_id = domain->id;
            CHECK(!domain->enabled && !domain->allow_relaying && domain->tag_mode == 0);
            CHECK(domain->catch_all.len == 0);
        } else {
            CHECK(is_text(domain->name, "example.org") || is_text(domain->name, "example.com"));
            CHECK(domain_id == 0 || domain_id == domain->id);
            domain_id = domain->id;
            CHECK(domain->enabled && domain->allow_relaying && domain->tag_mode == 1);
            CHECK(is_text(domain->catch_all, "all@example.org"));
        }
    }
    const struct dir_record *first = (const void *)config->addresses->records;
    size_t at = 0;
    for (size_t i = 0; i < config->address_count; i++) {
        const struct dir_record *address = (const void *)(config->addresses->records + at);
        struct slice local = dir_record_local(address);
        at += dir_record_size(address);
        CHECK(is_text(dir_record_mailbox(address), "alice@example.org"));
        CHECK(address->object_id == first->object_id);
        if (is_text(local, "alice")) {
            CHECK(address->kind == DIR_ACCOUNT && address->enabled);
            CHECK(address->domain_id == domain_id);
        } else if (is_text(local, "x")) {
            CHECK(address->kind == DIR_ALIAS && address->enabled);
            CHECK(address->domain_id == other_id);
        } else {
            CHECK(is_text(local, "y") && address->kind == DIR_ALIAS && !address->enabled);
        }
    }
    CHECK(at == config->addresses->bytes && config->addresses->next == NULL);
}

static void check_full(void)
{
    struct scratch scratch;
    scratch_open(&scratch);
    apply_good(&scratch, full, "created 4, updated 5, destroyed 0, unchanged 0; generation 2\n");
    struct config *config = load(&scratch);
    check_full_image(&config->image);
    check_full_records(config);
    config_free(config);
    apply_good(&scratch,
               "{\"@type\":\"update\",\"object\":\"SystemSettings\",\"value\":{"
               "\"postmasterAddress\":\"Ops@Example.ORG\"}}\n",
               NULL);
    config = load(&scratch);
    CHECK(is_text(config->image.postmaster, "ops@example.org"));
    config_free(config);
    scratch_close(&scratch);
}

static void put_file(const struct scratch *scratch, const char *name, struct slice content)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", scratch->root, name);
    write_file(path, content.ptr, content.len);
}

static char *certificate_line(const struct scratch *scratch, const char *name, const char *cert,
                              const char *key)
{
    char *line = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&line, &len);
    fprintf(out,
            "{\"@type\":\"create\",\"object\":\"Certificate\",\"value\":{\"%s\":{\"certificate\":{"
            "\"@type\":"
            "\"File\",\"filePath\":\"%s/%s\"},\"privateKey\":{\"@type\":\"File\",\"filePath\":"
            "\"%s/%s\"}}}}\n",
            name, scratch->root, cert, scratch->root, key);
    fclose(out);
    return line;
}

static void make_pair(const struct scratch *scratch, const char *cert, const char *key)
{
    uint8_t cert_pem[8192];
    uint8_t key_pem[8192];
    struct writer cert_w = writer_init(cert_pem, sizeof(cert_pem));
    struct writer key_w = writer_init(key_pem, sizeof(key_pem));
    CHECK(tls_self_signed(&cert_w, &key_w, SLICE_LITERAL("mx.example.org"),
                          INT64_C(1790000000000)) == MX_OK);
    put_file(scratch, cert, writer_slice(&cert_w));
    put_file(scratch, key, writer_slice(&key_w));
}

static void check_certificates(void)
{
    struct scratch scratch;
    scratch_open(&scratch);
    make_pair(&scratch, "a.pem", "a.key");
    make_pair(&scratch, "b.pem", "b.key");
    char *good = certificate_line(&scratch, "c1", "a.pem", "a.key");
    char *second = certificate_line(&scratch, "c2", "b.pem", "b.key");
    char *crossed = certificate_line(&scratch, "c3", "a.pem", "b.key");
    struct applied applied = apply_plan(&scratch, crossed, false);
    CHECK(applied.code == 1);
    CHECK_HAS(applied.text, "error: line 1, Certificate 'c3', field certificate: ");
    free(applied.text);
    apply_good(&scratch, good, "created 1, updated 0, destroyed 0, unchanged 0; generation 2\n");
    struct config *config = load(&scratch);
    CHECK(config->image.certificate != NULL); /* the only one */
    config_free(config);
    /* with two, the one to use is named */
    applied = apply_plan(&scratch, second, false);
    CHECK_TEXT(applied.text, "error: SystemSettings, field defaultCertificateId: there are 2 "
                             "certificates; name the one to use\n1 error; nothing was changed\n");
    free(applied.text);
    char *plan = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&plan, &len);
    fprintf(out,
            "%s{\"@type\":\"update\",\"object\":\"SystemSettings\",\"value\":{"
            "\"defaultCertificateId\":\"#c2\"}}\n",
            second);
    fclose(out);
    apply_good(&scratch, plan, "created 1, updated 1, destroyed 0, unchanged 0; generation 3\n");
    applied = apply_plan(&scratch, "{\"@type\":\"destroy\",\"object\":\"Certificate\"}\n", false);
    CHECK_HAS(applied.text, "is used by SystemSettings\n");
    free(applied.text);
    /* a file that is gone later stops the start, with its name */
    char path[400];
    snprintf(path, sizeof(path), "%s/b.key", scratch.root);
    CHECK(unlink(path) == 0);
    struct config_problem problem;
    CHECK(config_load(&config, scratch.data, &problem) == MX_ERR_NOTFOUND);
    CHECK_HAS(problem.text, "Certificate, field privateKey: cannot read ");
    free(plan);
    free(good);
    free(second);
    free(crossed);
    scratch_close(&scratch);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

enum { MANY = 100000, PER_LINE = 500 };

static void check_many_accounts(void)
{
    struct scratch scratch;
    char *plan = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&plan, &len);
    fprintf(out, "{\"@type\":\"upsert\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":"
                 "\"example.org\"}}}\n");
    for (int i = 0; i < MANY; i++) {
        fprintf(out, "%s\"u%d\":{\"@type\":\"User\",\"name\":\"user.%d\",\"domainId\":\"#d\"}%s",
                i % PER_LINE ? ","
                             : "{\"@type\":\"upsert\",\"object\":\"Account\",\"matchOn\":[\"name\","
                               "\"domainId\"],\"value\":{",
                i, i, i % PER_LINE == PER_LINE - 1 ? "}}\n" : "");
    }
    fclose(out);
    scratch_open(&scratch);
    double start = seconds();
    apply_good(&scratch, plan,
               "created 100001, updated 0, destroyed 0, unchanged 0; generation 2\n");
    double applied = seconds();
    struct config *config = load(&scratch);
    double loaded = seconds();
    CHECK(config->address_count == MANY);
    CHECK(config->domain_count == 1);
    config_free(config);
    apply_good(&scratch, plan,
               "created 0, updated 0, destroyed 0, unchanged 100001; generation 2\n");
    printf("%d accounts: applied in %.2f s, loaded in %.2f s, applied again in %.2f s\n", MANY,
           applied - start, loaded - applied, seconds() - loaded);
    free(plan);
    scratch_close(&scratch);
}

static void check_reference(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    reference_print(out);
    fclose(out);
    CHECK_HAS(text, "## Domain\n");
    CHECK_HAS(text, "| `port` | whole number, 1 to 65535 | `25` | TCP port of the next hop. |\n");
    CHECK_HAS(text, "## EmailAlias\n");
    CHECK_HAS(text, "| `route` | expression (QRCPT): name of a [MtaRoute](#MtaRoute) |");
    free(text);
    out = open_memstream(&text, &len);
    reference_print_expressions(out);
    fclose(out);
    CHECK_HAS(text, "| 7 | `\\|\\|` `\\|` | or; ");
    CHECK_HAS(text, "\n`RCPTDOM` (a recipient's domain): `rcpt_domain`\n");
    CHECK_HAS(text, "| `email_part(address, part)` | one side of the last @ (the last argument, in "
                    "quotes: local domain) |\n");
    CHECK_HAS(text, "| `sql_query(store, query, arguments)` | **not in this version**");
    CHECK_HAS(text, "| `country` | string | country of the client; **not in this version**");
    free(text);
}

int main(void)
{
    check_defaults();
    check_full();
    check_certificates();
    check_many_accounts();
    check_reference();
    return report("config");
}
