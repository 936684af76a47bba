#include "admin/discovery.h"

enum { AS = 1 << DISCOVERY_AUTHORIZATION_SERVER, ID = 1 << DISCOVERY_OPENID };

static const char *const paths[DISCOVERY_DOCUMENTS] = {
    [DISCOVERY_AUTHORIZATION_SERVER] = "/.well-known/oauth-authorization-server",
    [DISCOVERY_OPENID] = "/.well-known/openid-configuration",
    [DISCOVERY_PROTECTED_RESOURCE] = "/.well-known/oauth-protected-resource",
};

/* `served` goes up with the endpoint; `required` are the documents that must have it anyhow. */
static const struct endpoint {
    const char *name, *path;
    unsigned documents, required;
    bool served;
} endpoints[] = {
    {"authorization_endpoint", "/login", AS | ID, ID, false},
    {"token_endpoint", "/auth/token", AS | ID, ID, false},
    {"device_authorization_endpoint", "/auth/device", AS | ID, 0, false},
    {"registration_endpoint", "/auth/register", AS | ID, 0, false},
    {"introspection_endpoint", "/auth/introspect", AS | ID, 0, false},
    {"userinfo_endpoint", "/auth/userinfo", ID, 0, false},
    {"jwks_uri", "/auth/jwks.json", ID, ID, false},
};

/* What depends on no endpoint. RFC 8414 wants grant types named when they are not its default; an
 * empty list says that no flow is offered. */
static const struct list {
    const char *name, *json;
    unsigned documents;
} lists[] = {
    {"grant_types_supported", "[]", AS | ID},
    {"response_types_supported", "[]", AS | ID},
    {"scopes_supported", "[\"openid\"]", ID},
    {"subject_types_supported", "[\"public\"]", ID},
    {"id_token_signing_alg_values_supported", "[\"RS256\"]", ID},
};

int discovery_find(struct slice path)
{
    for (int i = 0; i < DISCOVERY_DOCUMENTS; i++) {
        if (slice_equal(path, slice_of_text(paths[i]))) {
            return i;
        }
    }
    return -1;
}

/* A string of two parts; characters that JSON escapes do not occur in URLs and are dropped. */
static void put_string(struct writer *w, struct slice base, const char *path)
{
    put_char(w, '"');
    for (size_t i = 0; i < base.len && i < DISCOVERY_BASE_MAX; i++) {
        if (base.ptr[i] > ' ' && base.ptr[i] < 0x7f && base.ptr[i] != '"' && base.ptr[i] != '\\') {
            put_u8(w, base.ptr[i]);
        }
    }
    put_text(w, path);
    put_char(w, '"');
}

static void put_name(struct writer *w, const char *name)
{
    put_text(w, ",\"");
    put_text(w, name);
    put_text(w, "\":");
}

static void put_server(struct writer *w, unsigned document, struct slice base)
{
    put_text(w, "{\"issuer\":");
    put_string(w, base, "");
    for (size_t i = 0; i < mx_countof(endpoints); i++) {
        const struct endpoint *e = &endpoints[i];
        if (((e->served ? e->documents : e->required) & document) != 0) {
            put_name(w, e->name);
            put_string(w, base, e->path);
        }
    }
    for (size_t i = 0; i < mx_countof(lists); i++) {
        if ((lists[i].documents & document) != 0) {
            put_name(w, lists[i].name);
            put_text(w, lists[i].json);
        }
    }
    put_char(w, '}');
}

void put_discovery(struct writer *w, enum discovery_document document, struct slice base)
{
    if (document != DISCOVERY_PROTECTED_RESOURCE) {
        put_server(w, 1u << document, base);
        return;
    }
    put_text(w, "{\"resource\":");
    put_string(w, base, "");
    put_name(w, "authorization_servers");
    put_char(w, '[');
    put_string(w, base, "");
    put_text(w, "]");
    put_name(w, "bearer_methods_supported");
    put_text(w, "[\"header\"]}");
}
