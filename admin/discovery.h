/* The metadata documents of OAuth (RFC 8414, RFC 9728) and OpenID Connect Discovery 1.0. Pure.
 *
 * There are no sign-in flows yet: clients use Basic or an API key. So the documents name only
 * endpoints that are served, and those that OpenID Connect Discovery requires in any document. */
#pragma once

#include "core/cursor.h"

enum discovery_document {
    DISCOVERY_AUTHORIZATION_SERVER, /* /.well-known/oauth-authorization-server */
    DISCOVERY_OPENID,               /* /.well-known/openid-configuration */
    DISCOVERY_PROTECTED_RESOURCE,   /* /.well-known/oauth-protected-resource */
    DISCOVERY_DOCUMENTS
};

enum {
    DISCOVERY_BASE_MAX = 1100,
    DISCOVERY_BYTES_MAX = 16 * 1024, /* of a document whose base has DISCOVERY_BASE_MAX bytes */
};

/* The document that is served at path; -1: none. */
int discovery_find(struct slice path);
/* Writes it as JSON. base is the URL of this server without a slash at its end
 * ("https://mx.example.org"). It is sent with "Access-Control-Allow-Origin: *". */
void put_discovery(struct writer *w, enum discovery_document document, struct slice base);
