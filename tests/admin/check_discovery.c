/* The metadata documents: what they name exists or is required. */
#include "tests/admin/support.h"

#include "admin/discovery.h"

#include <jansson.h>

static json_t *document(enum discovery_document which, const char *base)
{
    static uint8_t buf[DISCOVERY_BYTES_MAX];
    struct writer w = writer_init(buf, sizeof buf);
    put_discovery(&w, which, slice_of_text(base));
    CHECK(!w.overflow);
    json_t *json = json_loadb((const char *)buf, w.len, 0, NULL);
    CHECK(json != NULL);
    return json;
}

static const char *text(const json_t *json, const char *name)
{
    const char *value = json_string_value(json_object_get(json, name));
    return value ? value : "";
}

static void check_paths(void)
{
    CHECK(discovery_find(SLICE_LITERAL("/.well-known/oauth-authorization-server")) ==
          DISCOVERY_AUTHORIZATION_SERVER);
    CHECK(discovery_find(SLICE_LITERAL("/.well-known/openid-configuration")) == DISCOVERY_OPENID);
    CHECK(discovery_find(SLICE_LITERAL("/.well-known/oauth-protected-resource")) ==
          DISCOVERY_PROTECTED_RESOURCE);
    CHECK(discovery_find(SLICE_LITERAL("/.well-known/jmap")) == -1);
}

static void check_server(void)
{
    json_t *json = document(DISCOVERY_AUTHORIZATION_SERVER, "https://mx.example.org");
    CHECK_TEXT(text(json, "issuer"), "https://mx.example.org");
    /* RFC 8414: may be absent when no grant type uses it */
    CHECK(json_object_get(json, "authorization_endpoint") == NULL);
    CHECK(json_object_get(json, "token_endpoint") == NULL);
    CHECK(json_array_size(json_object_get(json, "grant_types_supported")) == 0);
    CHECK(json_is_array(json_object_get(json, "response_types_supported"))); /* required */
    json_decref(json);
}

static void check_openid(void)
{
    static const char *const required[] = {"issuer", "authorization_endpoint", "jwks_uri"};
    json_t *json = document(DISCOVERY_OPENID, "https://mx.example.org/a");
    for (size_t i = 0; i < mx_countof(required); i++) {
        CHECK_HAS(text(json, required[i]), "https://mx.example.org/a");
    }
    CHECK_TEXT(text(json, "token_endpoint"), "https://mx.example.org/a/auth/token");
    CHECK(json_object_get(json, "userinfo_endpoint") == NULL);
    CHECK(json_array_size(json_object_get(json, "subject_types_supported")) == 1);
    json_decref(json);
}

static void check_resource(void)
{
    json_t *json = document(DISCOVERY_PROTECTED_RESOURCE, "http://127.0.0.1:8080");
    CHECK_TEXT(text(json, "resource"), "http://127.0.0.1:8080");
    json_t *servers = json_object_get(json, "authorization_servers");
    CHECK_TEXT(json_string_value(json_array_get(servers, 0)), "http://127.0.0.1:8080");
    json_decref(json);
}

/* A base that is hostile or as long as can be. */
static void check_bases(void)
{
    char base[DISCOVERY_BASE_MAX + 100];
    memset(base, 'x', sizeof base);
    base[sizeof base - 1] = '\0';
    for (int i = 0; i < DISCOVERY_DOCUMENTS; i++) {
        json_decref(document((enum discovery_document)i, base));
        json_t *json = document((enum discovery_document)i, "http://a\"\\\n,\"x\":\"b");
        CHECK(json_object_get(json, "x") == NULL);
        json_decref(json);
    }
}

int main(void)
{
    check_paths();
    check_server();
    check_openid();
    check_resource();
    check_bases();
    return report("discovery");
}
