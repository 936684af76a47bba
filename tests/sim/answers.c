#include "tests/sim/answers.h"

#include "core/check.h"
#include "route/expr.h"
#include "smtp/hop.h"
#include "tests/sim/sim.h"
#include "tests/sim/tls_seen.h"

#include <stdlib.h>

/* --- as text -----------------------------------------------------------------------------------
 */

struct view {
    const struct image *image;
    const struct directory *directory;
    struct expr_vm *vm;
};

static void put_list(struct writer *w, const struct directory *directory, struct slice mailbox)
{
    const struct dir_list *list = directory_find_list(directory, mailbox);
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        put_text(w, " +");
        put_slice(w, list->members[i].address);
    }
}

static void put_address(struct writer *w, const struct view *view, const char *address)
{
    const struct routing_context ctx = {view->image, view->directory, view->vm};
    const struct envelope env = {.sender = SLICE_LITERAL("someone@back.example")};
    struct routing routing;
    routing_find(&routing, &ctx, slice_of_text(address), &env);
    put_text(w, address);
    put_text(w, ": ");
    put_decimal(w, routing.resolution.kind);
    put_char(w, ' ');
    put_decimal(w, routing.resolution.object_id);
    put_char(w, ' ');
    if (routing.resolution.kind == RESOLVE_LOCAL) {
        put_slice(w, routing.resolution.mailbox);
        put_list(w, view->directory, routing.resolution.mailbox);
    }
    put_text(w, " by ");
    put_slice(w, routing.route == NULL ? SLICE_LITERAL("nothing") : routing.route->name);
    put_char(w, '\n');
}

static void put_addresses(struct writer *w, const struct view *view)
{
    for (unsigned i = 0; settings_probe(i) != NULL; i++) {
        put_address(w, view, settings_probe(i));
    }
}

static void put_listener(struct writer *w, struct slice name, const struct netaddr *bind,
                         struct slice hostname)
{
    put_text(w, "listener ");
    put_slice(w, name);
    put_char(w, ' ');
    put_netaddr_port(w, bind);
    put_text(w, " as ");
    put_slice(w, hostname);
    put_char(w, '\n');
}

static void put_hop(struct writer *w, const struct route_conf *route, struct slice hostname)
{
    put_text(w, "hop ");
    put_decimal(w, route->index);
    put_char(w, ' ');
    put_slice(w, route->name);
    put_char(w, ' ');
    put_slice(w, route->address);
    put_char(w, ' ');
    put_decimal(w, route->port);
    put_text(w, route->lmtp ? " lmtp as " : " smtp as ");
    put_slice(w, hostname);
    put_char(w, '\n');
}

static void put_rest(struct writer *w, uint64_t generation, const char *certificate)
{
    put_text(w, "certificate ");
    put_text(w, certificate);
    put_text(w, "\ngeneration ");
    put_decimal(w, generation);
    put_char(w, '\n');
}

/* --- the two sides -----------------------------------------------------------------------------
 */

/* In the order of the image, whatever the order of the core's list. */
static void put_listeners_of(struct writer *w, const struct service *service)
{
    for (uint32_t i = 0; i < service->image->listener_count; i++) {
        const struct listener_conf *conf = &service->image->listeners[i];
        struct list_node *node = list_first(&service->listeners);
        for (; node != NULL; node = list_next(&service->listeners, node)) {
            const struct service_listener *own =
                mx_container_of(node, struct service_listener, node);
            if (own->conf == conf) {
                put_listener(w, conf->name, &own->bind, own->profile->conf.hostname);
            }
        }
    }
    put_text(w, listeners_closing(service) ? "the socket of a listener that is gone\n" : "");
}

static void end(struct writer *w)
{
    put_char(w, '\0');
    MX_ASSERT(!w->overflow);
}

void answers_of(struct answers *out, const struct service *service)
{
    struct writer w = writer_init(out->text, sizeof out->text);
    const struct deliver *d = &service->deliver;
    const struct view view = {service->image, service->directory, d->vm};
    memory_spare(true);
    put_addresses(&w, &view);
    put_listeners_of(&w, service);
    for (uint32_t i = 0; i < d->image->route_count; i++) {
        put_hop(&w, &d->route[i]->route, d->route[i]->hostname);
    }
    put_rest(&w, service->generation, tls_seen_certificate(service->tls_server));
    end(&w);
    memory_spare(false);
}

/* Made anew from the version, as at a start: another way than that of a change. */
static struct view view_new(const struct settings *settings, struct config **out_config)
{
    struct config *config = settings_config(settings, true);
    struct directory *directory = NULL;
    MX_ASSERT(config != NULL && directory_new(&directory, settings->generation) == MX_OK);
    MX_ASSERT(directory_reserve(directory, config->domain_count, config->address_count) == MX_OK);
    for (size_t i = 0; i < config->domain_count; i++) {
        MX_ASSERT(directory_put_domain(directory, &config->domains[i]) == MX_OK);
    }
    const struct dir_block *block = config->addresses;
    for (; block != NULL; block = block->next) {
        MX_ASSERT(directory_put_block(directory, block) == MX_OK);
    }
    struct expr_vm *vm = calloc(1, sizeof *vm);
    MX_ASSERT(vm != NULL);
    *out_config = config;
    return (struct view){&config->image, directory, vm};
}

static void view_free(struct view *view, struct config *config)
{
    free(view->vm);
    directory_free((struct directory *)(uintptr_t)view->directory);
    config_free(config);
}

/* The tables and the plain rule say the same. */
static void check_expected(const struct view *view, const struct settings *settings,
                           const char *address)
{
    const struct routing_context ctx = {view->image, view->directory, view->vm};
    const struct envelope env = {0};
    struct routing routing;
    routing_find(&routing, &ctx, slice_of_text(address), &env);
    bool accepts =
        routing.resolution.kind == RESOLVE_LOCAL || routing.resolution.kind == RESOLVE_RELAY;
    if (accepts != settings_accepts(settings, address)) {
        sim_fail("RCPT to %s should%s be accepted", address, accepts ? " not" : "");
    }
}

void answers_expected(struct answers *out, const struct settings *settings)
{
    struct writer w = writer_init(out->text, sizeof out->text);
    struct config *config;
    memory_spare(true);
    struct view view = view_new(settings, &config);
    const struct image *image = view.image;
    put_addresses(&w, &view);
    for (unsigned i = 0; settings_probe(i) != NULL; i++) {
        check_expected(&view, settings, settings_probe(i));
    }
    for (uint32_t i = 0; i < image->listener_count; i++) {
        put_listener(&w, image->listeners[i].name, &image->listeners[i].binds[0], image->hostname);
    }
    for (uint32_t i = 0; i < image->route_count; i++) {
        put_hop(&w, &image->routes[i], image->hostname);
    }
    char certificate[64];
    struct slice pem = image->certificate->cert_pem;
    memcpy(certificate, pem.ptr, pem.len);
    certificate[pem.len] = '\0';
    put_rest(&w, settings->generation, certificate);
    end(&w);
    view_free(&view, config);
    memory_spare(false);
}

void answers_compare(const struct answers *is, const struct answers *wanted, unsigned core,
                     const char *when)
{
    size_t line = 0, i = 0;
    for (; is->text[i] == wanted->text[i]; i++) {
        if (is->text[i] == '\0') {
            return;
        }
        line = is->text[i] == '\n' ? i + 1 : line;
    }
    sim_fail("%s core %u says: %.*s; and not: %.*s", when, core,
             (int)strcspn(is->text + line, "\n"), is->text + line,
             (int)strcspn(wanted->text + line, "\n"), wanted->text + line);
}

unsigned answers_leftovers(const struct service *service, unsigned core, bool fail)
{
    const struct deliver *d = &service->deliver;
    unsigned hops = 0, listeners = 0;
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        hops += mx_container_of(node, struct hop, all_node)->retired;
    }
    node = list_first(&service->listeners);
    for (; node != NULL; node = list_next(&service->listeners, node)) {
        listeners += mx_container_of(node, struct service_listener, node)->conf == NULL;
    }
    unsigned prepared = (d->next_route != NULL) + (service->next_tls != NULL) +
                        (service->update != NULL) + (service->next_listeners.listeners != NULL);
    for (uint32_t i = 0; i < service->keys.asks.made; i++) {
        prepared += handles_get(&service->keys.asks, i) != NULL; /* nobody waits for a key */
    }
    if (d->image != service->image) {
        sim_fail("core %u delivers by another image than it accepts by", core);
    }
    if (fail && hops + listeners + prepared > 0) {
        sim_fail("after quiet core %u has %u retired hops, %u retired listeners, %u parts of an "
                 "update",
                 core, hops, listeners, prepared);
    }
    return hops + listeners + prepared;
}
